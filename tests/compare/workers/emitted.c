/* Times an emitted network called `network`: for each number of seconds on stdin, writes the nanoseconds of the
 * median evaluation, and how many evaluations there were. With -DTHREADS=N so many threads share each layer. */
#define _POSIX_C_SOURCE 199309L
#include "network.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MOST 1000000

static double times[MOST];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

#ifdef THREADS
static void parallel(void *context, size_t parts, void (*work)(void *, size_t), void *run) {
    (void)context;
#pragma omp parallel for schedule(static, 1) num_threads(THREADS)
    for (size_t part = 0; part < parts; part++)
        work(run, part);
}
#endif

int main(void) {
    /* Elements of at most 4 bytes; those of integers have 1 or 2. */
    unsigned char *input = calloc(NETWORK_INPUT_SIZE, 4), *output = calloc(NETWORK_OUTPUT_SIZE, 4);
    void *arena = aligned_alloc(64, (NETWORK_ARENA_BYTES + 64) / 64 * 64);
    double seconds;
    if (!input || !output || !arena)
        return 1;
    for (size_t i = 0; i < 2 * (size_t)NETWORK_INPUT_SIZE; i++)
        input[i] = (unsigned char)rand();
    while (scanf("%lf", &seconds) == 1) {
        size_t count = 0;
        double end = now() + seconds * 1e9;
        while (count < 3 || (now() < end && count < MOST)) {
            double start = now();
#ifdef THREADS
            network_run_parallel((void *)input, (void *)output, arena, THREADS, parallel, NULL);
#else
            network_run((void *)input, (void *)output, arena);
#endif
            times[count++] = now() - start;
        }
        qsort(times, count, sizeof *times, compare);
        printf("%.0f %zu\n", times[count / 2], count);
        fflush(stdout);
    }
    free(input);
    free(output);
    free(arena);
    return 0;
}
