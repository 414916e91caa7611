#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define RELAX() _mm_pause()
#elif defined(__aarch64__)
#define RELAX() __asm__ volatile("yield")
#else
#define RELAX() ((void)0)
#endif

#define SPINS 2000 /* about 20 microseconds: the next part of a step comes sooner than a sleeping thread wakes */

/* All that a worker must know to take an item, in one word: the call, its number of threads and of items, and the next
 * item. A worker that increments `next` has taken an item of that call, and the call cannot end before this item is
 * done. So the worker may read the function and its context then, and only then. */
typedef union {
    uint64_t word;
    struct {
        uint16_t next, items, threads, call;
    } part;
} Ticket;

static struct {
    pthread_mutex_t owner; /* held by the thread that uses the pool */
    pthread_mutex_t lock;
    pthread_cond_t work;
    size_t started, asleep; /* `asleep` is protected by the lock */
    _Atomic uint64_t ticket;
    atomic_size_t done; /* finished items of this call */
    void (*function)(void *, size_t, size_t);
    void *context;
} pool = {.owner = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER};

static int has_item(Ticket t, size_t worker) { return t.part.next < t.part.items && worker < t.part.threads; }

/* Does items of the current call until none is left. */
static void help(size_t worker) {
    Ticket t = {atomic_load(&pool.ticket)};
    while (has_item(t, worker)) {
        Ticket taken = t;
        taken.part.next++;
        if (!atomic_compare_exchange_weak(&pool.ticket, &t.word, taken.word)) continue;
        pool.function(pool.context, t.part.next, worker);
        atomic_fetch_add(&pool.done, 1);
        t.word = atomic_load(&pool.ticket);
    }
}

static void await_item(size_t worker) {
    for (int i = 0; i < SPINS; i++) {
        if (has_item((Ticket){atomic_load_explicit(&pool.ticket, memory_order_acquire)}, worker)) return;
        RELAX();
    }
    pthread_mutex_lock(&pool.lock);
    pool.asleep++;
    while (!has_item((Ticket){atomic_load(&pool.ticket)}, worker)) pthread_cond_wait(&pool.work, &pool.lock);
    pool.asleep--;
    pthread_mutex_unlock(&pool.lock);
}

static void *live(void *number) {
    for (;;) {
        await_item((size_t)number);
        help((size_t)number);
    }
    return NULL;
}

static void forget_threads(void) { /* a forked child has only the thread that called fork */
    pool.started = pool.asleep = 0;
    atomic_store(&pool.ticket, 0); /* another thread's call may have been under way: new workers must not take its items */
    pthread_mutex_init(&pool.owner, NULL);
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.work, NULL);
}

static void start_up_to(size_t threads) {
    static int registered;
    if (!registered) registered = !pthread_atfork(NULL, NULL, forget_threads);
    while (pool.started + 1 < threads) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, live, (void *)(pool.started + 1))) return;
        pthread_detach(thread);
        pool.started++;
    }
}

void parallel(size_t threads, size_t items, void (*work)(void *context, size_t item, size_t worker),
              void *context) {
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    if (threads > items) threads = items;
    if (threads < 2 || items > UINT16_MAX || pthread_mutex_trylock(&pool.owner)) {
        for (size_t i = 0; i < items; i++) work(context, i, 0);
        return;
    }
    start_up_to(threads);
    pool.function = work;
    pool.context = context;
    atomic_store(&pool.done, 0);
    Ticket t = {atomic_load(&pool.ticket)};
    t.part.call++;
    t.part.next = 0;
    t.part.items = (uint16_t)items;
    t.part.threads = (uint16_t)threads;
    pthread_mutex_lock(&pool.lock);
    atomic_store(&pool.ticket, t.word);
    if (pool.asleep) pthread_cond_broadcast(&pool.work);
    pthread_mutex_unlock(&pool.lock);
    help(0);
    for (int i = 0; atomic_load_explicit(&pool.done, memory_order_acquire) < items; i++) {
        RELAX();
        if (i > SPINS) sched_yield(); /* another thread may need this core */
    }
    pthread_mutex_unlock(&pool.owner);
}
