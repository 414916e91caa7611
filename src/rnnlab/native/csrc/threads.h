/* A small pool of threads, shared by the process. */
#ifndef RNNLAB_THREADS_H
#define RNNLAB_THREADS_H

#include <stddef.h>

#define MAX_THREADS 8

/* Calls work(context, item, worker) once for every item below `items`, on at most `threads` threads, and returns
 * when all are done. A free thread takes the next item; on a busy machine the caller may do all of them. `worker` is a
 * number below `threads`, and never does two items at the same time. */
void parallel(size_t threads, size_t items, void (*work)(void *context, size_t item, size_t worker),
              void *context);

#endif
