"""How close simulated fills are to the recorded tape: the figures and pictures of docs/fidelity.md."""
