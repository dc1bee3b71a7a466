/* Recognises a few handwritten digits with the network that qcc compiled to digits.c and digits.h.
 * No memory is asked of the system: the network works in `arena`, whose size the header states. */
#include "digits.h"
#include <stdio.h>

/* 8 x 8 pixels of 0 (paper) to g (16, ink), as their writers left them. */
static const char *const drawings[][8] = {
    {"003edce0",
     "00becf90",
     "00g53g20",
     "0191ac00",
     "0007ge60",
     "004ggb10",
     "000f5000",
     "006d0000"},
    {"01agg600",
     "07e9cc00",
     "0115f500",
     "003ge300",
     "001beg60",
     "00000cb0",
     "0078dg50",
     "00fgc500"},
    {"006eb100",
     "00f56f00",
     "04g00930",
     "08900480",
     "07800480",
     "04800940",
     "01d23e00",
     "005ef400"},
    {"0003e900",
     "000db100",
     "009e0000",
     "04g40420",
     "0cc7ega0",
     "0dgebg40",
     "0220bd00",
     "0003g900"}};

static union {
    unsigned char bytes[DIGITS_ARENA_F32_BYTES];
    double aligned;
} arena;

static int recognise(const char *const rows[8]) {
    float image[DIGITS_INPUT_SIZE], probabilities[DIGITS_OUTPUT_SIZE];
    int i, best = 0;
    for (i = 0; i < DIGITS_INPUT_SIZE; i++) {
        const char c = rows[i / 8][i % 8];
        image[i] = (float)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    if (digits_run_f32(image, probabilities, arena.bytes) != 0)
        return -1;
    for (i = 1; i < DIGITS_OUTPUT_SIZE; i++)
        if (probabilities[i] > probabilities[best])
            best = i;
    printf("this is a %d (%.0f %%)\n\n", best, 100 * (double)probabilities[best]);
    return best;
}

int main(void) {
    size_t k;
    int row, column;
    for (k = 0; k < sizeof drawings / sizeof *drawings; k++) {
        for (row = 0; row < 8; row++) {
            for (column = 0; column < 8; column++) {
                const char c = drawings[k][row][column];
                fputs(c >= 'a' ? "##" : c >= '5' ? "++" : "  ", stdout);
            }
            putchar('\n');
        }
        if (recognise(drawings[k]) < 0)
            return 1;
    }
    return 0;
}
