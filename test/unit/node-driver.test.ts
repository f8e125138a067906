import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Driver, type DriverOptions } from '../../src/node/driver.ts';
import { HEADROOM, IoStatus, type PacketIo, Readiness } from '../../src/node/packet-io.ts';
import type { PacketHost } from '../../src/stack/seams.ts';
import type { Packet } from '../../src/wire/packet.ts';

/** A device that a test plays: packets are their first byte. */
class FakeIo implements PacketIo {
  readonly name = 'fake';
  readonly mtu = 1500;
  readonly segmentationOffload = false;
  readonly checksumOffload = false;
  readonly incoming: number[] = [];
  readonly written: number[] = [];
  status: number = IoStatus.Done;
  readStatus: number = IoStatus.Empty;
  reads = 0;
  awaited = 0;
  isRef = true;
  isClosed = false;
  onReady: (readiness: number) => void = () => {};

  read(packet: Packet): number {
    this.reads++;
    assert.equal(packet.start, HEADROOM);
    const value = this.incoming.shift();
    if (value === undefined) return this.readStatus;
    packet.bytes[packet.start] = value;
    packet.end = packet.start + 1;
    return IoStatus.Done;
  }

  write(packet: Packet): number {
    if (this.status === IoStatus.Done) this.written.push(packet.bytes[packet.start]!);
    return this.status;
  }

  start(onReady: (readiness: number) => void): void {
    this.onReady = onReady;
  }

  awaitWritable(): void {
    this.awaited++;
  }

  ref(): void {
    this.isRef = true;
  }

  unref(): void {
    this.isRef = false;
  }

  close(): void {
    this.isClosed = true;
  }
}

/** A host that keeps what comes and sends what a test put into `outgoing`: interface and first byte. */
class FakeHost implements PacketHost {
  readonly log: string[] = [];
  readonly outgoing: [number, number][] = [];
  readonly ready: number[] = [];
  deadline = Infinity;

  onPacket(now: number, interfaceId: number, packet: Packet): void {
    this.log.push(`${now}: packet ${packet.bytes[packet.start]} on ${interfaceId}`);
  }

  onTimeout(now: number): void {
    this.log.push(`${now}: timeout`);
    this.deadline = Infinity;
  }

  pollTransmit(_now: number, out: Packet): number {
    const next = this.outgoing.shift();
    if (next === undefined) return -1;
    assert.equal(out.start, HEADROOM);
    out.bytes[out.start] = next[1];
    out.end = out.start + 1;
    return next[0];
  }

  pollTimeout(): number {
    return this.deadline;
  }

  pollReady(): number {
    return this.ready.shift() ?? -1;
  }
}

interface Rig {
  host: FakeHost;
  io: FakeIo;
  driver: Driver;
  clock: { now: number };
}

function rig(options: DriverOptions = {}): Rig {
  const host = new FakeHost();
  const io = new FakeIo();
  const clock = { now: 100 };
  const driver = new Driver(host, { clock: () => clock.now, ...options });
  driver.attach(4, io);
  return { host, io, driver, clock };
}

const immediate = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('all that can be read is read before anything is written, with one instant', () => {
  const { host, io, driver } = rig();
  io.incoming.push(1, 2, 3);
  host.outgoing.push([4, 9]);
  const order: string[] = [];
  const write = io.write.bind(io);
  io.write = (packet) => {
    order.push(`write after ${host.log.length}`);
    return write(packet);
  };
  io.onReady(Readiness.Readable);
  assert.deepEqual(host.log, ['100: packet 1 on 4', '100: packet 2 on 4', '100: packet 3 on 4']);
  assert.deepEqual(order, ['write after 3']);
  assert.deepEqual(io.written, [9]);
  driver.close();
});

test('a turn reads a bounded number of packets and bytes', () => {
  const { io, driver } = rig({ receiveBatch: 5 });
  io.incoming.push(...new Array<number>(12).fill(7));
  io.onReady(Readiness.Readable);
  assert.equal(io.incoming.length, 7);
  io.onReady(Readiness.Readable);
  io.onReady(Readiness.Readable);
  assert.equal(io.incoming.length, 0);
  assert.equal(driver.counters.received, 12);
  driver.close();

  const bytes = rig({ receiveBatchBytes: 2 });
  bytes.io.incoming.push(1, 2, 3);
  bytes.io.onReady(Readiness.Readable);
  assert.equal(bytes.io.incoming.length, 1);
  bytes.driver.close();
});

test('a turn writes a bounded number of packets, then the event loop has its turn and it goes on by itself', async () => {
  const { host, io, driver } = rig({ transmitBatch: 3 });
  await immediate();
  for (let value = 0; value < 7; value++) host.outgoing.push([4, value]);
  driver.wake();
  await immediate();
  assert.deepEqual(io.written, [0, 1, 2]);
  await immediate();
  await immediate();
  assert.deepEqual(io.written, [0, 1, 2, 3, 4, 5, 6]);
  assert.equal(driver.counters.yields, 2);
  driver.close();
});

test('commands in one go cost one turn', async () => {
  const { driver } = rig();
  await immediate();
  const before = driver.counters.turns;
  for (let count = 0; count < 10; count++) driver.wake();
  await immediate();
  assert.equal(driver.counters.turns, before + 1);
  await immediate();
  assert.equal(driver.counters.turns, before + 1);
  driver.close();
});

test('timers run after the packets that came before them, and once', () => {
  const { host, io, driver, clock } = rig();
  host.deadline = 150;
  io.incoming.push(1);
  clock.now = 149.5;
  io.onReady(Readiness.Readable);
  clock.now = 150;
  io.incoming.push(2);
  io.onReady(Readiness.Readable);
  assert.deepEqual(host.log, ['149.5: packet 1 on 4', '150: packet 2 on 4', '150: timeout']);
  driver.close();
});

test('what a device does not take waits for it in order, up to a bound, while others go on', () => {
  const { host, io, driver } = rig({ backlog: 2 });
  const other = new FakeIo();
  driver.attach(5, other);
  io.status = IoStatus.Empty;
  host.outgoing.push([4, 1], [5, 2], [4, 3], [4, 4], [5, 5]);
  io.onReady(Readiness.Readable);
  assert.deepEqual(io.written, []);
  assert.deepEqual(other.written, [2, 5]);
  assert.equal(io.awaited, 1);
  assert.equal(driver.counters.deferred, 2);
  assert.equal(driver.counters.backlogFull, 1);
  io.status = IoStatus.Done;
  host.outgoing.push([4, 6]);
  io.onReady(Readiness.Writable);
  assert.deepEqual(io.written, [1, 3, 6]);
  driver.close();
});

test('a device that goes down is told once, its packets are counted, and its return is told', async () => {
  const changes: string[] = [];
  const { host, io, driver } = rig({ onInterfaceState: (id, isUp) => changes.push(`${id} ${isUp}`) });
  io.status = IoStatus.Down;
  host.outgoing.push([4, 1], [4, 2]);
  io.onReady(Readiness.Readable);
  await immediate();
  assert.deepEqual(changes, ['4 false']);
  assert.equal(driver.counters.down, 2);
  assert.equal(io.awaited, 1, 'writability is how a return is noticed');
  io.status = IoStatus.Done;
  io.onReady(Readiness.Writable);
  await immediate();
  assert.deepEqual(changes, ['4 false', '4 true']);
  io.onReady(Readiness.Gone);
  await immediate();
  assert.deepEqual(changes, ['4 false', '4 true', '4 false']);
  assert.equal(io.awaited, 1, 'what has gone does not return');
  driver.close();
});

test('refused packets, lack of memory and interfaces without a device have counters of their own', () => {
  const { host, io, driver } = rig();
  io.status = IoStatus.Refused;
  host.outgoing.push([4, 1], [77, 2]);
  io.onReady(Readiness.Readable);
  io.status = IoStatus.NoMemory;
  host.outgoing.push([4, 3]);
  io.onReady(Readiness.Readable);
  const { refused, unattached, noMemory, sent, down } = driver.counters;
  assert.deepEqual(
    { refused, unattached, noMemory, sent, down },
    { refused: 1, unattached: 1, noMemory: 1, sent: 0, down: 0 },
  );
  driver.close();
});

test('ready sockets are told from a callback of Node’s, and what that makes the host send goes out at once', async () => {
  const told: number[] = [];
  const { host, io, driver } = rig({
    onReady: (descriptor) => {
      told.push(descriptor);
      host.outgoing.push([4, descriptor]);
    },
  });
  host.ready.push(8, 9);
  io.onReady(Readiness.Readable);
  assert.deepEqual(told, []);
  await immediate();
  assert.deepEqual(told, [8, 9]);
  assert.deepEqual(io.written, [8, 9]);
  driver.close();
});

test('the tap sees packets of both directions', () => {
  const seen: string[] = [];
  const { host, io, driver } = rig({
    tap: (id, direction, packet, now) => seen.push(`${now} ${direction} ${packet.bytes[packet.start]} on ${id}`),
  });
  io.incoming.push(1);
  host.outgoing.push([4, 2]);
  io.onReady(Readiness.Readable);
  assert.deepEqual(seen, ['100 received 1 on 4', '100 sent 2 on 4']);
  driver.close();
});

test('close writes what is left, closes the devices and lets nothing come after', async () => {
  const told: number[] = [];
  const { host, io, driver } = rig({ onReady: (descriptor) => told.push(descriptor) });
  host.outgoing.push([4, 3]);
  host.ready.push(1);
  driver.wake();
  driver.close();
  driver.close();
  assert.deepEqual(io.written, [3]);
  assert.equal(io.isClosed, true);
  io.incoming.push(5);
  io.onReady(Readiness.Readable);
  await immediate();
  assert.deepEqual(host.log, []);
  assert.deepEqual(told, []);
  assert.throws(() => driver.attach(1, new FakeIo()), { code: 'ERR_DRIVER_CLOSED' });
});

test('one device per interface; a detached one is left open and heard no more', () => {
  const { host, io, driver } = rig();
  assert.throws(() => driver.attach(4, new FakeIo()), { code: 'ERR_INTERFACE_IN_USE' });
  assert.equal(driver.detach(9), undefined);
  assert.equal(driver.detach(4), io);
  io.incoming.push(1);
  io.onReady(Readiness.Readable);
  assert.deepEqual(host.log, []);
  assert.equal(io.isClosed, false);
  driver.attach(4, new FakeIo());
  driver.close();
  assert.equal(io.isClosed, false);
});

test('ref and unref reach devices, later ones too', () => {
  const { io, driver } = rig();
  driver.unref();
  assert.equal(io.isRef, false);
  const later = new FakeIo();
  driver.attach(5, later);
  assert.equal(later.isRef, false);
  driver.ref();
  assert.equal(io.isRef && later.isRef, true);
  driver.close();
});
