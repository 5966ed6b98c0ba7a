// A hundred thousand threads, as many as there may be, each computing for ever.
#include <pthread.h>

static void *spin(void *) {
    static thread_local volatile unsigned long count;
    for (;;)
        count = count + 1;
}

int main() {
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 32 * 1024);
    for (int each = 0; each < 100'000; each++) {
        pthread_t thread;
        if (pthread_create(&thread, &small, spin, nullptr) != 0)
            break;
    }
    spin(nullptr);
}
