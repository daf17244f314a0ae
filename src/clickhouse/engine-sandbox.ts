/**
 * What the engine's process may reach of the file system: its own directory, and of the rest what the engine reads of the machine. Its SQL
 * function file('/path') asks for no right of the user, so only the kernel can refuse it (Landlock, Linux 5.19 and newer). Where there
 * is none (macOS, older kernels) the engine runs without, and whoever has the reader's password can read what this user can.
 */
import fs from 'node:fs';
import { DataType as T, load } from 'ffi-rs';

const SYS_CREATE_RULESET = 444,
  SYS_ADD_RULE = 445,
  SYS_RESTRICT_SELF = 446,
  PR_SET_NO_NEW_PRIVS = 38;
const ASK_VERSION = 1,
  PATH_BENEATH = 1;
// Rights as the kernel numbers them.
const EXECUTE = 1 << 0,
  WRITE_FILE = 1 << 1,
  READ_FILE = 1 << 2,
  READ_DIR = 1 << 3;
const REFER = 1 << 13,
  TRUNCATE = 1 << 14;
const FIRST_VERSION_RIGHTS = (1 << 13) - 1,
  OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE;
const READ = READ_FILE | READ_DIR;
/** Libraries that are loaded late, time zones, sizes of memory, processors and disks, randomness. Not the rest of /etc, /proc or any home. */
const MACHINE: readonly string[] = [
  '/lib',
  '/lib64',
  '/usr/lib',
  '/usr/lib64',
  '/usr/share/zoneinfo',
  '/etc/localtime',
  '/etc/timezone',
  '/etc/ld.so.cache',
  '/proc/self',
  '/proc/meminfo',
  '/proc/cpuinfo',
  '/proc/stat',
  '/proc/loadavg',
  '/proc/uptime',
  '/proc/mounts',
  '/proc/filesystems',
  '/proc/sys',
  '/sys/fs/cgroup',
  '/sys/devices/system',
  '/sys/block',
  '/sys/kernel/mm',
];
const DEVICES: readonly string[] = ['/dev/null', '/dev/zero', '/dev/urandom', '/dev/random', '/dev/tty', '/dev/pts', '/dev/shm'];

function syscall(number: number, types: T[], values: unknown[]): number {
  return load({
    library: 'c',
    funcName: 'syscall',
    retType: T.I32,
    paramsType: [T.I64, ...types],
    paramsValue: [number, ...values] as never,
  }) as unknown as number;
}

/** From here on this thread and those that it starts reach no more than that. False when the kernel cannot do it. Library `c` must be open. */
export function confine(dir: string, reads: readonly string[]): boolean {
  if (process.platform !== 'linux') return false;
  const version = syscall(SYS_CREATE_RULESET, [T.I64, T.I64, T.I64], [0, 0, ASK_VERSION]);
  // The first version forbids every rename from one directory to another.
  if (version < 2) return false;
  const handled = FIRST_VERSION_RIGHTS | REFER | (version >= 3 ? TRUNCATE : 0);
  const ruleset = syscall(SYS_CREATE_RULESET, [T.U8Array, T.I64, T.I64], [u64(handled), 8, 0]);
  if (ruleset < 0) return false;
  const allow = (path: string, rights: number): void => {
    let fd: number;
    try {
      fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NOCTTY | fs.constants.O_NONBLOCK);
    } catch {
      return; // not on this machine
    }
    const ofThis = handled & rights & (fs.fstatSync(fd).isDirectory() ? -1 : OF_A_FILE);
    const rule = Buffer.alloc(12);
    u64(ofThis).copy(rule);
    rule.writeInt32LE(fd, 8);
    syscall(SYS_ADD_RULE, [T.I64, T.I64, T.U8Array, T.I64], [ruleset, PATH_BENEATH, rule, 0]);
    fs.closeSync(fd);
  };
  allow(dir, handled & ~EXECUTE);
  for (const path of [...reads, ...MACHINE]) allow(path, READ | EXECUTE);
  for (const path of DEVICES) allow(path, READ | WRITE_FILE);
  load({
    library: 'c',
    funcName: 'prctl',
    retType: T.I32,
    paramsType: [T.I32, T.I64, T.I64, T.I64, T.I64],
    paramsValue: [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0],
  });
  return syscall(SYS_RESTRICT_SELF, [T.I64, T.I64], [ruleset, 0]) === 0;
}

function u64(value: number): Buffer {
  const out = Buffer.alloc(8);
  out.writeUInt32LE(value >>> 0);
  return out;
}
