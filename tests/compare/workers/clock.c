/* Tells the processor's clock as emitted.c tells the time of a network: nanoseconds of 100,000 additions, each of
 * which waits for the one before it, a cycle each. */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void add(void) {
    unsigned long x = 1, one = 1;
    /* Of registers: processors fold the addition of a constant into the next one. */
    for (int i = 0; i < 10000; i++)
        __asm__ volatile("add %1, %0\n\tadd %1, %0\n\tadd %1, %0\n\tadd %1, %0\n\tadd %1, %0\n\t"
                         "add %1, %0\n\tadd %1, %0\n\tadd %1, %0\n\tadd %1, %0\n\tadd %1, %0"
                         : "+r"(x)
                         : "r"(one));
}

int main(void) {
    double seconds;
    while (scanf("%lf", &seconds) == 1) {
        double start = now(), end = start + seconds * 1e9, best = 1e18;
        long count = 0;
        while (count < 3 || start < end) {
            add();
            double stop = now();
            best = stop - start < best ? stop - start : best;
            start = stop;
            count++;
        }
        printf("%.0f %ld\n", best, count);
        fflush(stdout);
    }
    return 0;
}
