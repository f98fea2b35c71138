// Restrictions as the server tells them: which is the strongest, and what to call it.

import type { KillState, RestrictionLevel, RestrictionRow } from './types';

const ORDER: RestrictionLevel[] = ['NONE', 'BLOCK_ENTRIES', 'REDUCE_ONLY', 'HALT', 'FLATTEN'];

export const LEVEL_TEXTS: Record<RestrictionLevel, string> = {
  NONE: 'Free',
  BLOCK_ENTRIES: 'No entries',
  REDUCE_ONLY: 'Reduce only',
  HALT: 'Halted',
  FLATTEN: 'Flattened',
};

/** A level as told, or NONE for a word that this page does not know. */
export function levelOf(value: unknown): RestrictionLevel {
  return ORDER.find((level) => level === value) ?? 'NONE';
}

export function strongest(entries: { level: RestrictionLevel }[]): RestrictionLevel {
  return entries.reduce<RestrictionLevel>(
    (worst, entry) => (ORDER.indexOf(entry.level) > ORDER.indexOf(worst) ? entry.level : worst),
    'NONE',
  );
}

/** Reads the answer of `/api/admin/kill-switch`. */
export function readKill(raw: Record<string, unknown>): KillState {
  const rows = Array.isArray(raw.entries) ? (raw.entries as Record<string, unknown>[]) : [];
  const entries = rows.map(
    (row): RestrictionRow => ({
      subAccountId: row.subAccountId === null ? null : String(row.subAccountId),
      source: String(row.source ?? ''),
      level: levelOf(row.level),
      reason: String(row.reason ?? ''),
    }),
  );
  const working = Array.isArray(raw.working) ? raw.working.map(String) : [];
  return { level: levelOf(raw.level), entries, working };
}
