/** Where the IP packet begins in a captured frame, by link type (the registry of tcpdump.org). */

export const LinkType = {
  Null: 0,
  Ethernet: 1,
  /** Raw IP under its BSD numbers. */
  RawBsd12: 12,
  RawBsd14: 14,
  Raw: 101,
  Loop: 108,
  LinuxCooked: 113,
  Ipv4: 228,
  Ipv6: 229,
  LinuxCooked2: 276,
} as const;

const EtherType = { Ipv4: 0x0800, Vlan: 0x8100, Ipv6: 0x86dd, ProviderVlan: 0x88a8, OldVlan: 0x9100 } as const;
/** Tags stacked deeper than this are not looked under. */
const MAX_VLANS = 4;

/** Offset of the IP header in `bytes[start, end)`, or -1 when the frame carries no IP. */
export function locateIp(bytes: Uint8Array, start: number, end: number, linkType: number): number {
  switch (linkType) {
    case LinkType.Ethernet:
      return behindEtherType(bytes, start + 12, start + 14, end);
    case LinkType.LinuxCooked:
      return behindEtherType(bytes, start + 14, start + 16, end);
    case LinkType.LinuxCooked2:
      return behindEtherType(bytes, start, start + 20, end);
    case LinkType.Null:
    case LinkType.Loop:
      // A protocol family, in the capturing machine's numbers and byte order: the IP version tells as much.
      return checked(bytes, start + 4, end);
    case LinkType.Raw:
    case LinkType.RawBsd12:
    case LinkType.RawBsd14:
    case LinkType.Ipv4:
    case LinkType.Ipv6:
      return checked(bytes, start, end);
    default:
      return -1;
  }
}

function behindEtherType(bytes: Uint8Array, typeAt: number, payloadAt: number, end: number): number {
  let at = typeAt;
  let payload = payloadAt;
  for (let tags = 0; tags <= MAX_VLANS; tags++) {
    if (payload > end) return -1;
    const type = (bytes[at]! << 8) | bytes[at + 1]!;
    if (type === EtherType.Ipv4 || type === EtherType.Ipv6) return checked(bytes, payload, end);
    if (type !== EtherType.Vlan && type !== EtherType.ProviderVlan && type !== EtherType.OldVlan) return -1;
    at = payload + 2;
    payload += 4;
  }
  return -1;
}

function checked(bytes: Uint8Array, at: number, end: number): number {
  if (at >= end) return -1;
  const version = bytes[at]! >> 4;
  return version === 4 || version === 6 ? at : -1;
}
