#include "threads.h"

#include <pthread.h>
#include <stdatomic.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define RELAX() _mm_pause()
#elif defined(__aarch64__)
#define RELAX() __asm__ volatile("yield")
#else
#define RELAX() ((void)0)
#endif

#define SPINS 3000 /* some 30 microseconds: parts of a step follow each other sooner than a sleeper wakes */

static struct {
    pthread_mutex_t owner; /* held by who uses the pool */
    pthread_mutex_t lock;
    pthread_cond_t work;
    size_t started;
    atomic_size_t turn; /* counts the calls; a worker waits for the next */
    atomic_size_t left; /* workers that have not finished this turn */
    size_t threads, items;
    void (*function)(void *, size_t, size_t);
    void *context;
} pool = {.owner = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER};

static void do_share(size_t worker) {
    for (size_t i = worker; i < pool.items; i += pool.threads) pool.function(pool.context, i, worker);
}

static size_t await(size_t seen) {
    for (int i = 0; i < SPINS; i++) {
        const size_t turn = atomic_load_explicit(&pool.turn, memory_order_acquire);
        if (turn != seen) return turn;
        RELAX();
    }
    pthread_mutex_lock(&pool.lock);
    while (atomic_load(&pool.turn) == seen) pthread_cond_wait(&pool.work, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
    return atomic_load(&pool.turn);
}

typedef struct {
    size_t worker, seen;
} Birth;
static Birth births[MAX_THREADS];

static void *live(void *birth) {
    const size_t worker = ((Birth *)birth)->worker;
    for (size_t seen = ((Birth *)birth)->seen;;) {
        seen = await(seen);
        if (worker < pool.threads) do_share(worker);
        atomic_fetch_sub(&pool.left, 1);
    }
    return NULL;
}

static void forget_threads(void) { /* a forked child has only the thread that forked */
    pool.started = 0;
    pthread_mutex_init(&pool.owner, NULL);
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.work, NULL);
}

static void start_up_to(size_t threads) {
    static int registered;
    if (!registered) registered = !pthread_atfork(NULL, NULL, forget_threads);
    while (pool.started + 1 < threads) {
        const size_t worker = pool.started + 1;
        births[worker] = (Birth){worker, atomic_load(&pool.turn)};
        pthread_t thread;
        if (pthread_create(&thread, NULL, live, &births[worker])) return;
        pthread_detach(thread);
        pool.started++;
    }
}

void parallel(size_t threads, size_t items, void (*work)(void *context, size_t item, size_t worker), void *context) {
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    if (threads > items) threads = items;
    if (threads < 2 || pthread_mutex_trylock(&pool.owner)) {
        for (size_t i = 0; i < items; i++) work(context, i, 0);
        return;
    }
    start_up_to(threads);
    if (pool.started + 1 < threads) threads = pool.started + 1;
    pool.threads = threads;
    pool.items = items;
    pool.function = work;
    pool.context = context;
    atomic_store(&pool.left, pool.started);
    pthread_mutex_lock(&pool.lock);
    atomic_fetch_add(&pool.turn, 1);
    pthread_cond_broadcast(&pool.work);
    pthread_mutex_unlock(&pool.lock);
    do_share(0);
    while (atomic_load_explicit(&pool.left, memory_order_acquire)) RELAX();
    pthread_mutex_unlock(&pool.owner);
}
