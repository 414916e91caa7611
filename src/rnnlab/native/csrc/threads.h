/* A small pool of threads, shared by the process. */
#ifndef RNNLAB_THREADS_H
#define RNNLAB_THREADS_H

#include <stddef.h>

#define MAX_THREADS 8

/* Calls work(context, item, worker) once for every item below `items`, on at most `threads` threads, and returns
 * when all are done. A thread that is free takes the next item: where the machine is busy, the caller may well do
 * all of them. No two items are done by the same `worker`, a number below `threads`, at the same time. */
void parallel(size_t threads, size_t items, void (*work)(void *context, size_t item, size_t worker),
              void *context);

#endif
