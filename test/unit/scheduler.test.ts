import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ScheduleRequest, SubflowView } from '../../src/mptcp/seams.ts';
import { LowestLinger } from '../../src/policy/scheduler/lowest-linger.ts';
import { availableSchedulers, schedulerByName } from '../../src/policy/scheduler/registry.ts';

/** An idle normal subflow of 1 MB/s and 20 ms with room for ten segments. */
function view(id: number, change: Partial<SubflowView> = {}): SubflowView {
  return {
    id,
    active: true,
    backup: false,
    lossy: false,
    queued: 0,
    room: 14_000,
    congestionWindow: 20_000,
    smoothedRtt: 20,
    minimumRtt: 20,
    pacingRate: 1000,
    segmentSize: 1400,
    holdups: 0,
    ...change,
  } as SubflowView;
}

function request(change: Partial<ScheduleRequest> = {}): ScheduleRequest {
  return {
    waiting: 100_000,
    window: 10_000_000,
    outstanding: 50_000,
    limit: Number.POSITIVE_INFINITY,
    ...change,
  } as ScheduleRequest;
}

test('G1.01 only subflows that are active and alive are candidates', () => {
  const scheduler = new LowestLinger();
  const busy = view(3, { queued: 9000 });
  assert.equal(scheduler.pick(0, [view(1, { active: false }), view(2, { lossy: true }), busy], request()), 2);
  assert.equal(scheduler.pick(0, [view(1, { active: false })], request()), -1);
  assert.equal(scheduler.pick(0, [], request()), -1);
});

test('G1.02 the subflow that flushes what it has first is chosen: queued bytes over rate', () => {
  const slow = view(1, { queued: 5000, pacingRate: 500 });
  const fast = view(2, { queued: 8000, pacingRate: 1000 });
  assert.equal(new LowestLinger().pick(0, [slow, fast], request()), 1, '8 ms before 10 ms');
  assert.equal(new LowestLinger().pick(0, [view(1, { queued: 3000, pacingRate: 500 }), fast], request()), 0);
  const backups = [view(1, { backup: true, queued: 1000 }), view(2, { backup: true, queued: 500 })];
  assert.equal(new LowestLinger().pick(0, backups, request()), 1, 'among backups alike');
});

test('of equals the one with the shortest way', () => {
  const scheduler = new LowestLinger();
  assert.equal(
    scheduler.pick(0, [view(1, { smoothedRtt: 30 }), view(2, { smoothedRtt: 10, minimumRtt: 10 })], request()),
    1,
  );
});

test('G1.03 a backup is used only while no normal subflow is active', () => {
  const backup = view(2, { backup: true });
  const scheduler = new LowestLinger();
  assert.equal(scheduler.pick(0, [view(1, { queued: 50_000 }), backup], request()), 0);
  assert.equal(
    scheduler.pick(0, [view(1, { room: 0, queued: 50_000 }), backup], request()),
    -1,
    'a full one is active',
  );
  assert.equal(scheduler.pick(0, [view(1, { active: false }), backup], request()), 1);
  assert.equal(scheduler.pick(0, [view(1, { lossy: true }), backup], request()), 1);
});

test('G1.04 a slow subflow gets no more than the fast one leaves of the window, and nothing when it leaves nothing', () => {
  const fast = view(1, { room: 0, queued: 20_000, congestionWindow: 20_000 });
  const slow = view(2, { smoothedRtt: 200, minimumRtt: 200 });
  // In 200 ms the fast one sends 200 kB.
  const wide = request({ waiting: 1e7, window: 240_000, outstanding: 20_000 });
  assert.equal(new LowestLinger().pick(0, [fast, slow], wide), 1);
  assert.equal(wide.limit, 60_000);
  const narrow = request({ waiting: 1e7, window: 150_000, outstanding: 20_000 });
  assert.equal(new LowestLinger().pick(0, [fast, slow], narrow), -1, 'waits for the fast one');
  const free = view(1, { queued: 10_000, room: 10_000 });
  assert.equal(new LowestLinger().pick(0, [free, slow], narrow), 0, 'or goes to it');
});

test('G1.04 what the fast subflow finishes sooner than the slow one could is left to it', () => {
  const fast = view(1, { room: 0, queued: 20_000, congestionWindow: 20_000 });
  const slow = view(2, { smoothedRtt: 200, minimumRtt: 200 });
  assert.equal(new LowestLinger().pick(0, [fast, slow], request({ waiting: 170_000 })), -1, '190 ms against 200');
  assert.equal(new LowestLinger().pick(0, [fast, slow], request({ waiting: 190_000 })), 1, '210 ms against 200');
});

test('the best rate of the fast subflow is forgotten by half in a second', () => {
  const scheduler = new LowestLinger();
  const slow = view(2, { smoothedRtt: 100, minimumRtt: 100 });
  const ask = (now: number, congestionWindow: number): number => {
    const asked = request({ waiting: 1e7, window: 210_000, outstanding: 0 });
    assert.equal(scheduler.pick(now, [view(1, { room: 0, queued: 20_000, congestionWindow }), slow], asked), 1);
    return asked.limit;
  };
  assert.equal(ask(0, 40_000), 10_000);
  assert.equal(ask(0, 20_000), 10_000, 'just after a loss');
  assert.equal(Math.round(ask(1000, 20_000)), 60_000);
});

test('G1.08 with a closed window the subflow is named all the same, for the probe', () => {
  assert.equal(new LowestLinger().pick(0, [view(1, { room: 0, queued: 5000 })], request({ window: 0 })), 0);
  assert.equal(new LowestLinger().pick(0, [view(1, { room: 0, queued: 5000 })], request({ window: 1 })), -1);
});

test('G1.06 a burst is at most 65428 bytes, and less where the slow subflow may have less', () => {
  const asked = request();
  assert.equal(new LowestLinger().pick(0, [view(1, { room: 1e6 }), view(2)], asked), 0);
  assert.equal(asked.limit, 65_428);
  const spare = request({ waiting: 1e7, window: 210_000, outstanding: 0 });
  const slow = view(2, { smoothedRtt: 200, minimumRtt: 200 });
  assert.equal(new LowestLinger().pick(0, [view(1, { room: 0, queued: 20_000 }), slow], spare), 1);
  assert.equal(spare.limit, 10_000);
});

test('G1.07 the rate that counts is the average over what was queued and the burst that is added', () => {
  const scheduler = new LowestLinger();
  const other = view(2, { queued: 6000, pacingRate: 1000, smoothedRtt: 20 });
  // The first answer files 1000 for subflow 1; the second adds 5000 bytes at 3000 behind 5000 at 1000: 2000.
  assert.equal(scheduler.pick(0, [view(1, { queued: 5000 }), other], request({ window: 5000 })), 0);
  assert.equal(scheduler.pick(0, [view(1, { queued: 5000, pacingRate: 3000 }), other], request({ window: 5000 })), 0);
  const seen = { pacingRate: 1, room: 14_000 };
  assert.equal(scheduler.pick(0, [view(1, { queued: 11_900, ...seen }), other], request()), 0, '5.95 ms against 6');
  const again = new LowestLinger();
  again.pick(0, [view(1, { queued: 5000 }), other], request({ window: 5000 }));
  again.pick(0, [view(1, { queued: 5000, pacingRate: 3000 }), other], request({ window: 5000 }));
  assert.equal(again.pick(0, [view(1, { queued: 12_100, ...seen }), other], request()), 1, '6.05 ms against 6');
});

test('G1.07 a burst counts as min(65428, window), however little is waiting; without a rate a subflow comes last', () => {
  const other = view(2, { queued: 6000 });
  const choice = (queued: number): number => {
    const scheduler = new LowestLinger();
    scheduler.pick(0, [view(1, { queued: 5000 }), other], request());
    // (1000 · 5000 + 3000 · 65428) / 70428 = 2858 bytes per ms.
    scheduler.pick(0, [view(1, { queued: 5000, pacingRate: 3000 }), other], request({ waiting: 1 }));
    return scheduler.pick(0, [view(1, { queued, pacingRate: 1 }), other], request());
  };
  assert.equal(choice(17_100), 0, '5.98 ms before 6');
  assert.equal(choice(17_200), 1, '6.02 ms after 6');
  const unknown = view(1, { pacingRate: 0 });
  assert.equal(new LowestLinger().pick(0, [unknown, other], request()), 1, 'idle, and behind one that is not');
  assert.equal(new LowestLinger().pick(0, [unknown], request()), 0, 'alone it has to begin');
});

test('when every path looks dead, one is tried once nothing is under way', () => {
  const scheduler = new LowestLinger();
  const dead = [view(1, { lossy: true, room: 0 }), view(2, { lossy: true })];
  assert.equal(scheduler.pick(0, dead, request()), -1);
  assert.equal(scheduler.pick(0, dead, request({ outstanding: 0 })), 1);
});

test('data is sent again on another subflow than the one that had it, on a backup only without a normal one', () => {
  const scheduler = new LowestLinger();
  const both = [view(1), view(2, { queued: 9000 })];
  assert.equal(scheduler.retransmit(0, both, request(), 1), 1);
  assert.equal(scheduler.retransmit(0, both, request(), 0), 0);
  assert.equal(scheduler.retransmit(0, [view(1), view(2, { room: 0 })], request(), 1), -1, 'the other one is full');
  assert.equal(scheduler.retransmit(0, [view(1)], request(), 1), 0, 'there is no other');
  assert.equal(scheduler.retransmit(0, [view(1), view(2, { backup: true })], request(), 1), 0);
  assert.equal(scheduler.retransmit(0, [view(1, { lossy: true }), view(2, { backup: true })], request(), 1), 1);
});

test('G1.18 schedulers have short names by which they are found', () => {
  for (const name of availableSchedulers()) {
    assert.ok(name.length <= 16);
    const make = schedulerByName(name)!;
    assert.notEqual(make(), make(), 'one for each connection');
    assert.equal(make().name, name);
  }
  assert.ok(availableSchedulers().includes('default'));
  assert.equal(schedulerByName('nobody'), undefined);
});
