/** Where columns stand: in the heap of one thread, or in memory that two threads see. */
export type Allocate = (bytes: number) => ArrayBuffer | SharedArrayBuffer;
export const onHeap: Allocate = (bytes) => new ArrayBuffer(bytes);
