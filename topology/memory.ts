/** Where columns stand: in the heap of one thread, or in memory that two threads see. */
export type Allocate = (bytes: number) => ArrayBuffer | SharedArrayBuffer;
export const onHeap: Allocate = (bytes) => new ArrayBuffer(bytes);
/**
 * For what is large and stays, though one thread alone sees it: shared memory is none of what makes the collector look through the heap
 * again after each 32 MiB, so that what grows all the time does not bring that about (a fifth of its work in a run from an empty state).
 */
export const toStay: Allocate = (bytes) => new SharedArrayBuffer(bytes);
