/* Finds the k rows with the largest inner product, in plain C. */
#include <stddef.h>
#include <stdint.h>

/* A compile-time constant, so that the loop over a row is unrolled; this halves the time. */
#ifndef DIMENSION
#error "compile with -DDIMENSION=128"
#endif

/* rows: int8 [count, DIMENSION]. Fills found and products, best first, ties to the lower row; returns their number. */
int search(const int8_t *restrict rows, const int8_t *restrict query, int count, int k,
           int *restrict found, int *restrict products) {
    int size = 0;
    for (int row = 0; row < count; row++) {
        const int8_t *values = rows + (size_t)row * DIMENSION;
        int sum = 0;
        for (int d = 0; d < DIMENSION; d++) sum += values[d] * query[d];
        if (size == k && sum <= products[size - 1]) continue;
        int at = size < k ? size++ : size - 1;
        for (; at > 0 && products[at - 1] < sum; at--) {
            found[at] = found[at - 1];
            products[at] = products[at - 1];
        }
        found[at] = row;
        products[at] = sum;
    }
    return size;
}
