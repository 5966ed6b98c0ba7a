// expect: WA, row: A7
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void) {
    unsigned char frame[128] = {0};
    for (int kind = 0; kind < 8; kind++)
        for (int each = 3; each < 1024; each++) {
            frame[0] = sizeof frame;
            frame[4] = (unsigned char)kind;
            (void)!write(each, frame, sizeof frame);
        }
    puts("{\"verdict\": \"AC\"}");
    return 0;
}
