// expect: MLE|RTE, row: A2
#include <string.h>

static int deeper(int depth) {
    volatile char frame[65536];
    memset((char *)frame, depth, sizeof frame);
    return deeper(depth + 1) + frame[depth & 0xff];
}

int main(void) { return deeper(0); }
