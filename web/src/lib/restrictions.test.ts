import { expect, test } from 'vitest';
import { levelOf, readKill, strongest } from './restrictions';

test('the strongest of all entries counts', () => {
  expect(strongest([])).toBe('NONE');
  expect(strongest([{ level: 'REDUCE_ONLY' }, { level: 'FLATTEN' }, { level: 'HALT' }])).toBe('FLATTEN');
});

test('an unknown level frees nobody and breaks nothing', () => {
  expect(levelOf('SOMETHING_NEW')).toBe('NONE');
  expect(levelOf(null)).toBe('NONE');
});

test('an answer is read with its gaps', () => {
  const raw = {
    level: 'HALT',
    entries: [{ subAccountId: null, source: 'operator', level: 'HALT', actor: 'a', since: 's' }],
  };
  expect(readKill(raw)).toEqual({
    level: 'HALT',
    entries: [{ subAccountId: null, source: 'operator', level: 'HALT', reason: '' }],
    working: [],
  });
  expect(readKill({})).toEqual({ level: 'NONE', entries: [], working: [] });
});
