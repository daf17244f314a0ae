/**
 * Reads Snappy, as Kafka's clients write it: raw, or in the framing of xerial's Java library (a header of 16 bytes, then blocks
 * with their length). Only for reading logs of others; the size that a block announces is checked before room is made for it.
 */
import { BatchError } from '../../topology/consume/batch-error.ts';
import { int32At } from '../../topology/consume/batch-header.ts';
import { tooLarge } from './lz4-frame.ts';

const XERIAL = [0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00];
const XERIAL_HEADER_BYTES = 16;

export function snappyInflate(bytes: Uint8Array, maxBytes: number): Uint8Array {
  if (!XERIAL.every((b, i) => bytes[i] === b)) return inflateRaw(bytes, 0, bytes.length, maxBytes);
  const parts: Uint8Array[] = [];
  let total = 0;
  for (let at = XERIAL_HEADER_BYTES; at < bytes.length;) {
    const size = at + 4 <= bytes.length ? int32At(bytes, at) : -1;
    at += 4;
    if (size < 0 || at + size > bytes.length) throw damaged('a block reaches beyond its end');
    const part = inflateRaw(bytes, at, at + size, maxBytes, total);
    total += part.length;
    parts.push(part);
    at += size;
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}

function inflateRaw(b: Uint8Array, from: number, end: number, maxBytes: number, before: number = 0): Uint8Array {
  let at = from,
    size = 0,
    unit = 1,
    byte = 128;
  while (byte >= 128) {
    if (at >= end || unit > 2 ** 28) throw damaged('its length does not end');
    byte = b[at++]!;
    size += (byte & 127) * unit;
    unit *= 128;
  }
  if (before + size > maxBytes) throw tooLarge(maxBytes);
  // An element of three bytes yields at most 64.
  if (size > (end - at) * 64) throw damaged('it announces more than its bytes can hold');
  const out = Buffer.allocUnsafeSlow(size);
  let to = 0;
  while (at < end) {
    const tag = b[at++]!,
      kind = tag & 3;
    let length = (tag >>> 2) + 1,
      back = 0;
    if (kind === 0) {
      if (length > 60) {
        const extra = length - 60;
        if (at + extra > end) throw damaged('a literal is cut off');
        length = littleEndian(b, at, extra) + 1;
        at += extra;
      }
      if (at + length > end || to + length > size) throw damaged('a literal is too long');
      out.set(b.subarray(at, at + length), to);
      at += length;
      to += length;
      continue;
    }
    if (kind === 1) length = ((tag >>> 2) & 7) + 4;
    const width = kind === 1 ? 1 : kind === 2 ? 2 : 4;
    if (at + width > end) throw damaged('a copy is cut off');
    back = littleEndian(b, at, width) + (kind === 1 ? (tag >>> 5) * 256 : 0);
    at += width;
    if (back === 0 || back > to || to + length > size) throw damaged('a copy points outside');
    // Byte by byte where source and target overlap: that is how a run is written.
    if (back >= length) out.copyWithin(to, to - back, to - back + length);
    else for (let i = 0; i < length; i++) out[to + i] = out[to + i - back]!;
    to += length;
  }
  if (to !== size) throw damaged(`it holds ${to} bytes, not ${size}`);
  return out;
}

function littleEndian(b: Uint8Array, at: number, width: number): number {
  let value = 0;
  for (let i = width - 1; i >= 0; i--) value = value * 256 + b[at + i]!;
  return value;
}

function damaged(what: string): BatchError {
  return new BatchError('malformed', `its checksum fits, but its Snappy block is damaged: ${what}`);
}
