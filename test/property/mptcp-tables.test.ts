import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Mappings, NO_MAPPING } from '../../src/mptcp/mappings.ts';
import { Reinjections } from '../../src/mptcp/reinjection.ts';
import { TokenTable } from '../../src/mptcp/tokens.ts';

const SPAN = 80;

/** What each subflow offset is mapped to, one number per byte. */
class PlainMappings {
  readonly data = new Map<number, number>();

  /** False, and nothing changes, when a byte is mapped to something else. */
  insert(subflowStart: number, dataStart: number, length: number): boolean {
    for (let index = 0; index < length; index++) {
      const known = this.data.get(subflowStart + index);
      if (known !== undefined && known !== dataStart + index) return false;
    }
    for (let index = 0; index < length; index++) this.data.set(subflowStart + index, dataStart + index);
    return true;
  }
}

/** Every byte says the same in both, however the mappings are cut; they are in order and do not overlap. */
function same(mappings: Mappings, plain: PlainMappings, released = 0): void {
  let end = 0;
  for (let index = 0; index < mappings.count; index++) {
    ok(mappings.length(index) > 0);
    ok(mappings.subflowStart(index) >= end, 'in order, without overlaps');
    end = mappings.subflowStart(index) + mappings.length(index);
  }
  equal(mappings.end, end);
  for (let offset = 1; offset <= 2 * SPAN; offset++) {
    const index = mappings.find(offset);
    if (index === NO_MAPPING) {
      if (offset < released) plain.data.delete(offset);
      equal(plain.data.get(offset), undefined, `subflow offset ${offset} was forgotten`);
      continue;
    }
    const found = mappings.dataStart(index) + offset - mappings.subflowStart(index);
    equal(found, plain.data.get(offset), `subflow offset ${offset}`);
  }
}

const offset = fc.integer({ min: 1, max: SPAN });
const length = fc.integer({ min: 1, max: 25 });
/** Few shifts, so that mappings often agree. */
const shift = fc.constantFrom(0, 0, 0, 0, 0, 0, 100, 101);

test('A5.04, A5.06 received mappings say of each byte what a table of bytes does, whatever overlaps', () => {
  const step = fc.record({ kind: fc.constantFrom('insert', 'insert', 'insert', 'release'), offset, length, shift });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const mappings = new Mappings();
      const plain = new PlainMappings();
      let released = 0;
      for (const { kind, offset: start, length: bytes, shift: by } of steps) {
        if (kind === 'insert') {
          const index = mappings.insert(start, start + by, bytes);
          equal(index !== NO_MAPPING, plain.insert(start, start + by, bytes));
          if (index !== NO_MAPPING) {
            ok(mappings.subflowStart(index) <= start + bytes);
            ok(mappings.subflowStart(index) + mappings.length(index) >= start + bytes);
          }
        } else {
          mappings.releaseBelow(start, Number.POSITIVE_INFINITY);
          released = Math.max(released, start);
          if (mappings.count > 0) ok(mappings.subflowStart(0) + mappings.length(0) > start);
        }
        same(mappings, plain, released);
      }
    }),
    { numRuns: 2000 },
  );
});

test('A5.07, A9.12 sent mappings grow at the end and are kept until both levels acknowledged them', () => {
  const step = fc.record({
    kind: fc.constantFrom('push', 'push', 'extend', 'acknowledge', 'find'),
    data: fc.integer({ min: 1, max: 500 }),
    length,
    part: fc.double({ min: 0, max: 1, noNaN: true }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const mappings = new Mappings();
      let kept: { subflow: number; data: number; length: number; fin: boolean; note: number }[] = [];
      let end = 1;
      let una = 1;
      let dataUna = 1;
      for (const { kind, data, length: bytes, part } of steps) {
        const last = kept.at(-1);
        if (kind === 'push') {
          mappings.push(end, data, bytes);
          kept.push({ subflow: end, data, length: bytes, fin: part > 0.8, note: Math.floor(part * 65_536) });
          if (part > 0.8) mappings.markFin(mappings.count - 1);
          mappings.setNote(mappings.count - 1, Math.floor(part * 65_536));
          end += bytes;
        } else if (kind === 'extend' && last !== undefined) {
          mappings.extendLast(bytes);
          last.length += bytes;
          end += bytes;
        } else if (kind === 'acknowledge') {
          una = Math.max(una, Math.round(1 + part * (end - 1)));
          dataUna = Math.max(dataUna, data);
          mappings.releaseBelow(una, dataUna);
          const first = kept.findIndex((each) => each.subflow + each.length > una || each.data + each.length > dataUna);
          kept = first < 0 ? [] : kept.slice(first);
        }
        equal(mappings.count, kept.length);
        for (let index = 0; index < kept.length; index++) {
          const each = kept[index]!;
          equal(mappings.subflowStart(index), each.subflow);
          equal(mappings.dataStart(index), each.data);
          equal(mappings.length(index), each.length);
          equal(mappings.fin(index), each.fin);
          equal(mappings.note(index), each.note);
        }
        const wanted = Math.round(1 + part * end);
        const found = kept.findIndex((each) => wanted >= each.subflow && wanted < each.subflow + each.length);
        equal(mappings.find(wanted), found < 0 ? NO_MAPPING : found);
      }
    }),
    { numRuns: 2000 },
  );
});

test('A9.11 what is to be sent again: each byte once, lowest first, as its first owner left it', () => {
  const step = fc.record({ kind: fc.constantFrom('add', 'add', 'take', 'release'), offset, length, owner: fc.nat(4) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const queue = new Reinjections();
      const owners = new Map<number, number>();
      for (const { kind, offset: start, length: bytes, owner } of steps) {
        if (kind === 'add') {
          queue.add(start, start + bytes, owner);
          for (let at = start; at < start + bytes; at++) if (!owners.has(at)) owners.set(at, owner);
        } else if (kind === 'take' && !queue.isEmpty) {
          const count = Math.min(bytes, queue.end - queue.start);
          for (let at = queue.start; at < queue.start + count; at++) owners.delete(at);
          queue.take(count);
        } else if (kind === 'release') {
          queue.releaseBelow(start);
          for (const at of [...owners.keys()]) if (at < start) owners.delete(at);
        }
        equal(queue.isEmpty, owners.size === 0);
        equal(queue.bytes, owners.size);
        if (queue.isEmpty) continue;
        equal(queue.start, Math.min(...owners.keys()));
        ok(queue.end > queue.start);
        for (let at = queue.start; at < queue.end; at++) equal(owners.get(at), queue.owner);
      }
    }),
    { numRuns: 2000 },
  );
});

test('A2.13, A2.14 a token has one owner at a time, and no more than were reserved', () => {
  const step = fc.record({
    kind: fc.constantFrom('reserve', 'own', 'release', 'find'),
    pick: fc.nat(20),
    word: fc.nat(3),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const table = new TokenTable<number>();
      const owners = new Map<number, number | undefined>();
      let nextOwner = 1;
      for (const { kind, pick, word } of steps) {
        const tokens = [...owners.keys()];
        const token = tokens[pick % Math.max(1, tokens.length)];
        if (kind === 'reserve') {
          // Four keys in all: collisions are the rule.
          const key = table.reserve({ word: () => word });
          if (key === undefined) continue;
          ok(!owners.has(key.token), 'a token in use is not given out');
          ok(key.token !== 0);
          owners.set(key.token, undefined);
        } else if (token === undefined) continue;
        else if (kind === 'own') {
          table.own(token, nextOwner);
          owners.set(token, nextOwner++);
        } else if (kind === 'release') {
          table.release(token);
          owners.delete(token);
        }
        equal(table.size, owners.size);
        for (const [each, owner] of owners) equal(table.find(each), owner);
      }
    }),
    { numRuns: 500 },
  );
});
