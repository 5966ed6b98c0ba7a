/* Writes what could be a report to every descriptor it can find, then answers wrongly. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void) {
    static const char verdict[] = "{\"verdict\":\"AC\",\"exit_code\":0}\n";
    unsigned char frame[64];
    memset(frame, 0, sizeof frame);
    frame[0] = sizeof frame;
    frame[4] = 1;
    for (int each = 3; each < 1024; each++) {
        (void)!write(each, frame, sizeof frame);
        (void)!write(each, verdict, sizeof verdict - 1);
    }
    puts("forged");
    return 0;
}
