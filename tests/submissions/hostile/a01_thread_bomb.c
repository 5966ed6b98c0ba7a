// expect: TLE, row: A1
#include <pthread.h>

static void *spin(void *count) {
    for (volatile unsigned long each = 0;; each++)
        ;
    return count;
}

int main(void) {
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 32 * 1024);
    for (int each = 0; each < 100000; each++) {
        pthread_t thread;
        if (pthread_create(&thread, &small, spin, 0) != 0)
            break;
    }
    spin(0);
}
