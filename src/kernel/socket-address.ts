import { Address } from '../wire/address.ts';

export const AF_INET = 2;
export const AF_INET6 = 10;

export interface SocketAddress {
  readonly address: string;
  readonly port: number;
  readonly family: 'IPv4' | 'IPv6';
}

/** `struct sockaddr_in` or `sockaddr_in6`. */
export function encodeSocketAddress(address: Address, port: number): Buffer {
  if (address.family === 4) {
    const bytes = Buffer.alloc(16);
    bytes.writeUInt16LE(AF_INET, 0);
    bytes.writeUInt16BE(port, 2);
    bytes.writeUInt32BE(address.w3, 4);
    return bytes;
  }
  const bytes = Buffer.alloc(28);
  bytes.writeUInt16LE(AF_INET6, 0);
  bytes.writeUInt16BE(port, 2);
  bytes.writeUInt32BE(address.w0, 8);
  bytes.writeUInt32BE(address.w1, 12);
  bytes.writeUInt32BE(address.w2, 16);
  bytes.writeUInt32BE(address.w3, 20);
  return bytes;
}

/** Reads a socket address at `offset`; undefined for families other than the two. */
export function decodeSocketAddress(bytes: Buffer, offset: number): SocketAddress | undefined {
  const family = bytes.readUInt16LE(offset);
  const port = bytes.readUInt16BE(offset + 2);
  if (family === AF_INET) {
    return { address: Address.v4(bytes.readUInt32BE(offset + 4)).toString(), port, family: 'IPv4' };
  }
  if (family !== AF_INET6) return undefined;
  const address = new Address(
    6,
    bytes.readUInt32BE(offset + 8),
    bytes.readUInt32BE(offset + 12),
    bytes.readUInt32BE(offset + 16),
    bytes.readUInt32BE(offset + 20),
  );
  return { address: address.toString(), port, family: 'IPv6' };
}
