"""Signing of one order request, by kind of key: microseconds, as percentiles."""

import time

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench.machine import machine, percentile
from pms.exchange.binance.signing import Signer, encode

ROUNDS = 2_000
RSA_BITS = 2048
PARAMETERS = (
    ("symbol", "BTCUSDT"),
    ("side", "BUY"),
    ("type", "LIMIT"),
    ("timeInForce", "GTC"),
    ("quantity", "0.010"),
    ("price", "61800.1"),
    ("newClientOrderId", "PMS1a2b3c4d_LM_0k3v9x1q"),
    ("newOrderRespType", "ACK"),
    ("selfTradePreventionMode", "EXPIRE_TAKER"),
    ("recvWindow", "2000"),
    ("timestamp", "1790526547773"),
)


def _pem(key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def main() -> None:
    """Print the figures."""
    print("signing an order with eleven parameters, encoding included, microseconds")
    print(f"  machine: {machine()}")
    keys = {
        "HMAC": "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9",
        "Ed25519": _pem(ed25519.Ed25519PrivateKey.generate()),
        f"RSA {RSA_BITS}": _pem(rsa.generate_private_key(65537, RSA_BITS)),
    }
    for name, secret in keys.items():
        signer = Signer(secret)
        samples = []
        for _ in range(ROUNDS):
            before = time.perf_counter_ns()
            signer.signed(encode(PARAMETERS))
            samples.append((time.perf_counter_ns() - before) / 1000)
        p50, p90, p99 = (percentile(samples, fraction) for fraction in (0.5, 0.9, 0.99))
        print(f"  {name:10} p50 {p50:8.1f}, p90 {p90:8.1f}, p99 {p99:8.1f}")


if __name__ == "__main__":
    main()
