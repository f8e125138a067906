import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { EndpointEvent } from '../../src/tcp/endpoint.ts';
import { CloseReason, type Extension, Verdict } from '../../src/tcp/seams.ts';
import { Dss, Mptcp } from '../../src/wire/mptcp-options.ts';
import type { Packet } from '../../src/wire/packet.ts';
import { Flag, type Segment } from '../../src/wire/segment.ts';
import { established, Script, type ScriptOptions, synReceived, synSent } from '../script/harness.ts';

/** Says a four-byte option when told to, remembers what it hears. */
class Recorder implements Extension {
  overhead = 0;
  wantsAcknowledgment = false;
  deadline = Number.POSITIVE_INFINITY;
  readonly heard: string[] = [];
  /** Option bytes per segment: 0, 4 or 8. */
  says = 0;
  /** At most so many bytes per segment. */
  most = Number.POSITIVE_INFINITY;
  /** What is answered to the next segments. */
  handshakeVerdict: number = Verdict.Accept;
  verdict: number = Verdict.Accept;
  /** Whether saying it satisfies the wish for an ACK. */
  content = true;
  lastRoom = -1;
  onDeadline: (now: number) => void = () => {};

  onTimeout(now: number): void {
    this.heard.push(`timeout ${now}`);
    this.deadline = Number.POSITIVE_INFINITY;
    this.onDeadline(now);
  }

  onTransmitSyn(_now: number, segment: Segment, attempt: number): void {
    this.heard.push(`syn ${attempt}`);
    if (this.says > 0) this.write(segment);
  }

  onHandshakeSegment(_now: number, segment: Segment): number {
    this.heard.push(`handshake ${segment.offset} ${segment.ackOffset} ${segment.length}`);
    return this.handshakeVerdict;
  }

  onTransmit(_now: number, segment: Segment, offset: number, length: number, room: number): number {
    this.lastRoom = room;
    this.heard.push(`transmit ${(segment.flags & Flag.Rst) !== 0 ? 'reset ' : ''}${offset} ${length}`);
    if (this.says > 0) this.write(segment);
    if (this.content) this.wantsAcknowledgment = false;
    return Math.min(length, this.most);
  }

  onSegment(_now: number, segment: Segment, _packet: Packet): number {
    this.heard.push(`segment ${segment.offset} ${segment.ackOffset} ${segment.length} ${segment.scaledWindow}`);
    return this.verdict;
  }

  onReset(): void {
    this.heard.push('reset');
  }

  onEstablished(): void {
    this.heard.push('established');
  }

  onAcknowledged(_now: number, una: number): void {
    this.heard.push(`acknowledged ${una}`);
  }

  onRetransmissionTimeout(_now: number, count: number): void {
    this.heard.push(`rto ${count}`);
  }

  onPeerFin(_now: number, offset: number): void {
    this.heard.push(`fin ${offset}`);
  }

  onClosed(_now: number, reason: number): void {
    this.heard.push(`closed ${reason}`);
  }

  /** What was heard since the last look. */
  get news(): string[] {
    return this.heard.splice(0);
  }

  private write(segment: Segment): void {
    segment.mptcp.present |= Mptcp.Dss;
    segment.mptcp.dssFlags = Dss.Ack;
    segment.mptcp.dataAckLow = 7;
  }
}

function begun(options: ScriptOptions = {}): { script: Script; extension: Recorder } {
  const extension = new Recorder();
  const script = established({ ...options, extension });
  extension.heard.length = 0;
  return { script, extension };
}

test('C31 a passive handshake shows the SYN once, and the third ACK twice', () => {
  const extension = new Recorder();
  const script = synReceived({ extension });
  deepEqual(extension.news, ['handshake 0 0 0', 'syn 0']);
  script.at(1000).expects('S. 0:0(0) ack 1');
  deepEqual(extension.news, ['syn 1']);
  script.peer.sends('P. 1:101(100) ack 1 win 1000');
  deepEqual(extension.news, ['handshake 1 1 100', 'established', 'segment 1 1 100 1000', 'transmit 1 0']);
  equal(script.app.reads(), 100);
});

test('C31 an active handshake shows the SYN/ACK once, and again only with payload', () => {
  const extension = new Recorder();
  const script = synSent({ extension });
  deepEqual(extension.news, ['syn 0']);
  script.peer.sends('S. 0:0(0) ack 1');
  deepEqual(extension.news, ['handshake 0 1 0', 'established', 'transmit 1 0']);
  const loaded = new Recorder();
  synSent({ extension: loaded }).peer.sends('S. 0:10(10) ack 1');
  deepEqual(loaded.news, ['syn 0', 'handshake 0 1 10', 'established', 'segment 0 1 10 65535', 'transmit 1 0']);
});

test('C31 the extension refuses a handshake: a RST with its options', () => {
  for (const [make, line] of [
    [synSent, 'S. 0:0(0) ack 1'],
    [synReceived, '. 1:1(0) ack 1'],
  ] as const) {
    const extension = new Recorder();
    const script = make({ extension });
    extension.heard.length = 0;
    extension.handshakeVerdict = Verdict.Reset;
    extension.says = 4;
    script.peer.sends(line);
    script.peer.expects('R. 1:1(0) ack 1 win 0 <dss dack4=7>');
    equal(script.endpoint.closeReason, CloseReason.Extension);
    ok((script.events & EndpointEvent.Failed) !== 0);
    ok(extension.news.includes(`closed ${CloseReason.Extension}`));
  }
  const extension = new Recorder();
  extension.handshakeVerdict = Verdict.Reset;
  const script = new Script({ extension });
  script.accept('S 0:0(0) win 1000 <mss 1460>');
  script.peer.expects('R. 1:1(0) ack 1');
  equal(script.state, 'CLOSED');
});

test('C31 a segment carries what the extension lets it carry', () => {
  const { script, extension } = begun({ config: { nagle: false } });
  extension.most = 300;
  script.app.writes(1000);
  script.peer.expects('. 1:301(300) ack 1');
  script.peer.expects('. 301:601(300) ack 1');
  script.peer.expects('. 601:901(300) ack 1');
  script.peer.expects('P. 901:1001(100) ack 1');
  equal(extension.lastRoom, 40);
});

test('C31 refused data stays; what the extension said meanwhile goes out alone', () => {
  const { script, extension } = begun();
  extension.most = 0;
  script.app.writes(1000);
  script.peer.expectsNothing();
  extension.says = 4;
  script.connection.onData(script.now);
  script.settle();
  script.peer.expects('. 1:1(0) ack 1 win 65535 <dss dack4=7>');
  script.peer.expectsNothing();
  extension.most = 1e9;
  script.connection.onData(script.now);
  script.settle();
  script.peer.expects('P. 1:1001(1000) ack 1');
});

test('C09 the segment size leaves room for the overhead, and follows it', () => {
  const extension = new Recorder();
  extension.overhead = 20;
  const script = established({ extension, config: { timestamps: true }, options: 'mss 1460,sackOK,TS val 1000 ecr 0' });
  equal(script.connection.sender.segmentSize, 1460 - 12 - 20);
  extension.overhead = 4;
  script.app.writes(1);
  equal(script.connection.sender.segmentSize, 1460 - 12 - 4);
  equal(extension.lastRoom, 28);
});

test('C09 more options than were announced cut the segment, not the packet', () => {
  const { script, extension } = begun({ config: { nagle: false } });
  extension.says = 4;
  script.app.writes(1460);
  // 8 bytes of options: the packet stays within the MTU.
  script.peer.expects('. 1:1453(1452) ack 1 win 65535 <dss dack4=7>');
  script.peer.expects('P. 1453:1461(8) ack 1');
});

test('C31 an ACK that the extension wants goes out at once', () => {
  const { script, extension } = begun();
  extension.says = 4;
  extension.wantsAcknowledgment = true;
  ok(script.endpoint.wantsTransmit);
  script.settle();
  script.peer.expects('. 1:1(0) ack 1 win 65535 <dss dack4=7>');
  script.peer.expectsNothing();
});

test('C31 an extension that is never content is stopped, and counted', () => {
  const { script, extension } = begun();
  extension.content = false;
  extension.wantsAcknowledgment = true;
  script.settle();
  equal(script.sent.length, 32);
  equal(script.endpoint.wantsTransmit, false);
  equal(script.counters.TCPInvariant, 1);
});

test('C13 SACK blocks get what the extension leaves', () => {
  const { script, extension } = begun();
  extension.says = 4;
  for (const at of [101, 301, 501, 701]) script.peer.sends(`. ${at}:${at + 100}(100) ack 1`);
  for (let count = 0; count < 3; count++) script.peer.next();
  script.peer.expects('. 1:1(0) ack 1 win 65535 <sack 701:801 501:601 301:401,dss dack4=7>');
});

test('C31 verdicts: ignore the payload, acknowledge, reset', () => {
  const { script, extension } = begun();
  extension.verdict = Verdict.IgnorePayload;
  script.peer.sends('F. 1:101(100) ack 1');
  equal(script.stream.readable, 0);
  equal(script.state, 'ESTABLISHED', 'the FIN behind it waits');
  script.peer.ignores();
  extension.verdict = Verdict.AcknowledgeNow;
  script.peer.sends('. 1:1(0) ack 1');
  script.peer.expects('. 1:1(0) ack 1');
  extension.verdict = Verdict.Reset;
  extension.says = 4;
  script.peer.sends('. 1:1(0) ack 1');
  script.peer.expects('R. 1:1(0) ack 1 win 0 <dss dack4=7>');
  equal(script.stream.closeReason, CloseReason.Extension);
});

test('C05 C06 what TCP does not accept never reaches the extension', () => {
  const { script, extension } = begun();
  for (const line of [
    '. 90000:90010(10) ack 1',
    '. 1:11(10) ack 9',
    '. 1:11(10) ack 4294900000',
    '- 1:11(10)',
    'S 1:1(0)',
    'R 5:5(0)',
    'R 90000:90000(0)',
  ]) {
    script.peer.sends(line);
  }
  deepEqual(
    extension.news.filter((line) => !line.startsWith('transmit')),
    [],
  );
});

test("C31 the extension hears of acknowledgments, timeouts, the peer's FIN, its RST and the end, once", () => {
  const { script, extension } = begun();
  script.app.writes(100);
  script.peer.sends('. 1:1(0) ack 101');
  script.peer.sends('F. 1:1(0) ack 101');
  ok(extension.news.join().includes('acknowledged 101'));
  script.app.writes(100);
  script.at(script.now + 3000);
  ok(extension.news.includes('rto 1'));
  script.peer.sends('R 2:2(0)');
  deepEqual(extension.news.slice(-2), ['reset', `closed ${CloseReason.PeerReset}`]);
  script.app.abort();
  script.peer.sends('. 2:2(0) ack 101');
  deepEqual(extension.news, []);
  const orderly = begun();
  orderly.script.app.shutdown();
  orderly.script.peer.sends('F. 1:1(0) ack 2');
  deepEqual(
    orderly.extension.news.filter((line) => !line.startsWith('transmit') && !line.startsWith('segment')),
    ['acknowledged 2', 'fin 2', `closed ${CloseReason.Finished}`],
  );
});

test('C31 the extension has a timer, and may abort from it', () => {
  const { script, extension } = begun();
  extension.deadline = 500;
  equal(script.endpoint.deadline, 500);
  extension.onDeadline = (now) => script.connection.abort(now);
  script.at(500).expects('R. 1:1(0) ack 1');
  equal(script.state, 'CLOSED');
});
