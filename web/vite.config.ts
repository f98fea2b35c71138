// Builds the dashboard into the Python package; `npm run build -- --outDir DIR` builds elsewhere (the stale check).
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { loadEnv } from 'vite';
import { defineConfig } from 'vitest/config';

const gateway = loadEnv('', '.', 'PMS_').PMS_GATEWAY ?? 'http://127.0.0.1:3900';

export default defineConfig({
  plugins: [svelte()],
  base: '/',
  build: {
    outDir: '../src/pms/web',
    emptyOutDir: true,
    target: 'es2022',
    sourcemap: false,
    // No inline script and no data: addresses, so that a strict Content-Security-Policy holds.
    modulePreload: false,
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 400,
  },
  server: {
    port: 5173,
    proxy: {
      '/api': gateway,
      '/ws': { target: gateway, ws: true },
    },
  },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
});
