/* A small pool of threads, shared by the process. */
#ifndef RNNLAB_THREADS_H
#define RNNLAB_THREADS_H

#include <stddef.h>

#define MAX_THREADS 8

/* Calls work(context, item, worker) for every item below `items`: worker w, one thread, takes the items w,
 * w + threads, ... in this order. Returns when all are done. Where the pool is busy, or threads cannot be had,
 * the caller does the other workers' items itself. */
void parallel(size_t threads, size_t items, void (*work)(void *context, size_t item, size_t worker), void *context);

#endif
