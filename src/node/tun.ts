import { constants, existsSync } from 'node:fs';
import { PACKET_CAPACITY, type Packet } from '../wire/packet.ts';
import { ForeignDescriptor } from './descriptor.ts';
import { type Foreign, foreign } from './ffi.ts';
import { ipCommands } from './ip-command.ts';
import { inNetworkNamespace } from './network-namespace.ts';
import { IoStatus, type PacketIo, Readiness } from './packet-io.ts';
import { errnoName, SystemError } from './system-error.ts';
import { completeTransportChecksum, readVnetHeader, VNET_HEADER, writeVnetHeader } from './vnet-header.ts';

export interface TunOptions {
  /** 1 to 15 bytes, no slash or white space; '%d' in it becomes the first free number. Default `mptcp%d`. */
  readonly name?: string;
  /** Ask for the virtio-net header, without which there is no offload. Default true. */
  readonly vnetHeader?: boolean;
  /** Ask for checksum and segmentation offload: packets of up to 64 KB. Default true. */
  readonly offload?: boolean;
  /** Addresses of the kernel's end, as `10.0.0.1/24`. The network is then reached through the device. */
  readonly addresses?: readonly string[];
  /** Bytes; 68 to 65535. Default 1500. */
  readonly mtu?: number;
  /** Bring the device up. Default: true when it was given an address. */
  readonly up?: boolean;
  /** Make the device in this network namespace (a name of `ip netns` or a path) and not in our own. */
  readonly namespace?: string;
  /** How to wait for packets; for tests. */
  readonly mechanism?: 'auto' | 'loop' | 'thread';
}

/** What the kernel granted. */
export interface TunCapabilities {
  readonly vnetHeader: boolean;
  readonly checksumOffload: boolean;
  readonly segmentationOffload: boolean;
  /** UDP as well. */
  readonly udpSegmentationOffload: boolean;
}

/** What a device did with packets that it did not pass on, besides what it tells the driver. */
export interface TunCounters {
  /** Packets read and written. */
  received: number;
  sent: number;
  /** Bytes of IP packets. */
  receivedBytes: number;
  sentBytes: number;
  /** Writes that failed because the device was down. */
  down: number;
  /** Writes that the kernel had no buffer for. */
  noMemory: number;
  /** Packets that the kernel called invalid, or that could not be described to it. */
  refused: number;
}

/**
 * A TUN device: IP packets to and from the kernel of this host. It disappears when closed, unless it was made
 * persistent beforehand (`ip tuntap add`), in which case this attaches to it.
 *
 * Packets are read and written in place: the virtio-net header takes the bytes right before the packet.
 */
export class TunDevice implements PacketIo {
  readonly name: string;
  readonly mtu: number;
  readonly capabilities: TunCapabilities;
  readonly segmentationOffload: boolean;
  readonly checksumOffload: boolean;
  readonly counters: TunCounters = {
    received: 0,
    sent: 0,
    receivedBytes: 0,
    sentBytes: 0,
    down: 0,
    noMemory: 0,
    refused: 0,
  };
  private readonly descriptor: ForeignDescriptor;
  private readonly header: number;

  private constructor(descriptor: ForeignDescriptor, name: string, mtu: number, capabilities: TunCapabilities) {
    this.descriptor = descriptor;
    this.name = name;
    this.mtu = mtu;
    this.capabilities = capabilities;
    this.segmentationOffload = capabilities.segmentationOffload;
    this.checksumOffload = capabilities.checksumOffload;
    this.header = capabilities.vnetHeader ? VNET_HEADER : 0;
  }

  /**
   * Makes a device, or attaches to a persistent one, and configures it. What the kernel does not grant of the
   * offloads is left out step by step; `capabilities` says what remained.
   *
   * @throws SystemError with `code` EINVAL (bad name), ENODEV (no /dev/net/tun), EPERM or EACCES (not permitted),
   *   EBUSY (the name is taken), ERR_IP_COMMAND (addresses or MTU not accepted)
   * @throws ForeignFunctionError when C functions cannot be called
   */
  static open(options: TunOptions = {}): TunDevice {
    const name = options.name ?? 'mptcp%d';
    if (!isDeviceName(name)) {
      throw new SystemError(
        'EINVAL',
        'TUNSETIFF',
        `not a device name: ${JSON.stringify(name)} (1 to 15 bytes, without slash, colon and white space)`,
      );
    }
    const mtu = options.mtu ?? 1500;
    if (!Number.isInteger(mtu) || mtu < 68 || mtu > 65_535) {
      throw new SystemError('EINVAL', 'TUNSETIFF', `an MTU is 68 to 65535 bytes, not ${mtu}`);
    }
    if (options.namespace !== undefined) {
      const { namespace, ...rest } = options;
      return inNetworkNamespace(namespace, () => TunDevice.open(rest));
    }
    const calls = foreign();
    const fd = openControl(calls);
    try {
      const attached = attach(calls, fd, name, options.vnetHeader ?? true);
      const capabilities = negotiate(calls, fd, attached.vnetHeader, options.offload ?? true);
      configure(attached.name, mtu, options);
      // A persistent device may have an MTU of its own.
      const actual = options.mtu ?? deviceMtu(calls, attached.name, mtu);
      return new TunDevice(new ForeignDescriptor(fd, options.mechanism), attached.name, actual, capabilities);
    } catch (error) {
      calls.close(fd);
      throw error;
    }
  }

  read(packet: Packet): number {
    const header = this.header;
    const at = packet.start - header;
    const result = this.descriptor.read(packet.bytes, at, Math.min(packet.bytes.length - at, PACKET_CAPACITY));
    if (result <= header) return result === 0 ? IoStatus.Gone : this.failed(result);
    packet.end = at + result;
    if (header > 0) {
      readVnetHeader(packet);
    } else {
      packet.gsoSize = 0;
      packet.checksum = 0;
    }
    this.counters.received++;
    this.counters.receivedBytes += result - header;
    return IoStatus.Done;
  }

  write(packet: Packet): number {
    const header = this.header;
    if (header > 0 ? !writeVnetHeader(packet) : packet.gsoSize !== 0 || !completeTransportChecksum(packet)) {
      this.counters.refused++;
      return IoStatus.Refused;
    }
    const at = packet.start - header;
    const result = this.descriptor.write(packet.bytes, at, packet.end - at);
    if (result < 0) return this.failed(result);
    this.counters.sent++;
    this.counters.sentBytes += result - header;
    return IoStatus.Done;
  }

  private failed(result: number): number {
    switch (-result) {
      case EAGAIN:
      case EINTR:
        return IoStatus.Empty;
      case EIO:
        this.counters.down++;
        return IoStatus.Down;
      case ENOMEM:
      case ENOBUFS:
        this.counters.noMemory++;
        return IoStatus.NoMemory;
      case EBADF:
      case EBADFD:
      case ENODEV:
        return IoStatus.Gone;
      default:
        this.counters.refused++;
        return IoStatus.Refused;
    }
  }

  start(onReady: (readiness: number) => void): void {
    this.descriptor.onReadable((readiness) => {
      if ((readiness & Readiness.Writable) !== 0) this.descriptor.forgetWritable();
      onReady(readiness);
    });
  }

  awaitWritable(): void {
    this.descriptor.awaitWritable();
  }

  ref(): void {
    this.descriptor.ref();
  }

  unref(): void {
    this.descriptor.unref();
  }

  close(): void {
    this.descriptor.close();
  }
}

const EINTR = 4;
const EIO = 5;
const EBADF = 9;
const EAGAIN = 11;
const ENOMEM = 12;
const EBUSY = 16;
const ENODEV = 19;
const EINVAL = 22;
const EBADFD = 77;
const ENOBUFS = 105;

const TUN_PATH = '/dev/net/tun';
const TUNSETIFF = 0x4004_54ca;
const TUNSETOFFLOAD = 0x4004_54d0;
const TUNSETVNETHDRSZ = 0x4004_54d8;
const TUNSETVNETLE = 0x4004_54dc;

const IFF_TUN = 0x0001;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;

/** TUNSETOFFLOAD's flags. */
const Offload = { Csum: 0x01, Tso4: 0x02, Tso6: 0x04, TsoEcn: 0x08, Uso4: 0x20, Uso6: 0x40 } as const;
const TSO = Offload.Csum | Offload.Tso4 | Offload.Tso6 | Offload.TsoEcn;
const USO = Offload.Uso4 | Offload.Uso6;

/** struct ifreq: 16 bytes of name, then a union of which the flags are the first two bytes. */
const IFREQ_BYTES = 64;
const IFNAMSIZ = 16;

/** Whether the kernel would take `name`, in which `%d` may stand for a number. */
function isDeviceName(name: string): boolean {
  return /^[^\s/:\0]+$/.test(name) && Buffer.byteLength(name) < IFNAMSIZ && name !== '.' && name !== '..';
}

const PERMISSION_HINT =
  'a TUN device needs CAP_NET_ADMIN: run as root, in a user namespace of your own (unshare --map-root-user --net), ' +
  'or attach to one that root made for you (ip tuntap add mode tun user NAME vnet_hdr)';

function openControl(calls: Foreign): number {
  const fd = calls.open(TUN_PATH, constants.O_RDWR | constants.O_NONBLOCK | O_CLOEXEC);
  if (fd >= 0) return fd;
  const errno = calls.errno();
  if (errno === ENODEV || !existsSync(TUN_PATH)) {
    const hint = `${TUN_PATH} is missing: load the tun module, or give the container the device (--device ${TUN_PATH})`;
    throw new SystemError('ENODEV', `open ${TUN_PATH}`, hint, errno);
  }
  throw SystemError.of(errno, `open ${TUN_PATH}`, PERMISSION_HINT);
}

const O_CLOEXEC = 0o2000000;

function attach(calls: Foreign, fd: number, name: string, wantHeader: boolean): { name: string; vnetHeader: boolean } {
  const request = Buffer.alloc(IFREQ_BYTES);
  for (let vnetHeader = wantHeader; ; vnetHeader = false) {
    request.fill(0);
    request.write(name, 0, 'utf8');
    request.writeUInt16LE(IFF_TUN | IFF_NO_PI | (vnetHeader ? IFF_VNET_HDR : 0), IFNAMSIZ);
    if (calls.ioctl(fd, TUNSETIFF, request) >= 0) {
      return { name: request.toString('utf8', 0, request.indexOf(0)), vnetHeader };
    }
    const errno = calls.errno();
    // A persistent device keeps the kind it was made with: one without the header is met without it.
    if (errno === EINVAL && vnetHeader) continue;
    throw attachError(errno, name);
  }
}

function attachError(errno: number, name: string): SystemError {
  const code = errnoName(errno);
  if (errno === EBUSY) return SystemError.of(errno, 'TUNSETIFF', `the device ${name} is in use by another process`);
  if (code === 'EPERM' || code === 'EACCES') return SystemError.of(errno, 'TUNSETIFF', PERMISSION_HINT);
  if (errno === EINVAL || code === 'EEXIST') {
    return new SystemError('EBUSY', 'TUNSETIFF', `there is another device ${name} that is not a TUN device`, errno);
  }
  return SystemError.of(errno, 'TUNSETIFF', `cannot make the device ${name}`);
}

function negotiate(calls: Foreign, fd: number, vnetHeader: boolean, wantOffload: boolean): TunCapabilities {
  let granted = 0;
  if (vnetHeader) {
    const word = Buffer.alloc(4);
    word.writeInt32LE(VNET_HEADER);
    calls.ioctl(fd, TUNSETVNETHDRSZ, word);
    word.writeInt32LE(1);
    calls.ioctl(fd, TUNSETVNETLE, word);
    const steps = wantOffload ? [TSO | USO, TSO, Offload.Csum, 0] : [0];
    for (const flags of steps) {
      if (calls.ioctlNumber(fd, TUNSETOFFLOAD, flags) < 0) continue;
      granted = flags;
      break;
    }
  }
  return {
    vnetHeader,
    checksumOffload: (granted & Offload.Csum) !== 0,
    segmentationOffload: (granted & Offload.Tso4) !== 0,
    udpSegmentationOffload: (granted & Offload.Uso4) !== 0,
  };
}

function deviceMtu(calls: Foreign, name: string, otherwise: number): number {
  const fd = calls.socket(AF_INET, SOCK_DGRAM | O_CLOEXEC, 0);
  if (fd < 0) return otherwise;
  const request = Buffer.alloc(IFREQ_BYTES);
  request.write(name, 0, 'utf8');
  const result = calls.ioctl(fd, SIOCGIFMTU, request);
  calls.close(fd);
  return result < 0 ? otherwise : request.readInt32LE(IFNAMSIZ);
}

const AF_INET = 2;
const SOCK_DGRAM = 2;
const SIOCGIFMTU = 0x8921;

function configure(name: string, mtu: number, options: TunOptions): void {
  const addresses = options.addresses ?? [];
  const lines: string[] = [];
  if (options.mtu !== undefined) lines.push(`link set dev ${name} mtu ${mtu}`);
  for (const address of addresses) {
    if (!/^[0-9a-fA-F.:]+\/\d{1,3}$/.test(address)) {
      throw new SystemError('EINVAL', 'ip', `not an address with prefix length: ${JSON.stringify(address)}`);
    }
    // Nobody else is on this link, so IPv6 addresses need no duplicate detection and work at once.
    lines.push(`address add ${address} dev ${name}${address.includes(':') ? ' nodad' : ''}`);
  }
  if (options.up ?? addresses.length > 0) lines.push(`link set dev ${name} up`);
  if (lines.length > 0) ipCommands(lines);
}
