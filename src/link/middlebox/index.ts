/**
 * What stands in the way of packets on today's Internet, a rule each. A box goes into a `Path` (`middleboxes`),
 * beside its end A, or into a `MiddleboxLine` of one's own.
 */
export { MiddleboxLine } from './line.ts';
export { type Emitter, type Middlebox, TcpMiddlebox, Way } from './middlebox.ts';
export { ClampMss, DropUnknownOptions, DuplicateOption, StripOption, type StripOptions } from './options.ts';
export { NormaliseRetransmissions, RewritePayload } from './payload.ts';
export {
  EarlyAcknowledger,
  type EarlyAcknowledgerOptions,
  StatefulFirewall,
  type StatefulFirewallOptions,
  SynProxy,
  type SynProxyOptions,
} from './proxy.ts';
export { AddressTranslator, SequenceRewriter, ShrinkWindow } from './rewrite.ts';
export { CoalesceSegments, SplitSegments } from './segments.ts';
