// expect: CE, row: C1
constexpr unsigned long spin(unsigned long depth) {
    unsigned long count = 0;
    for (unsigned long each = 0; each < 200'000; each++)
        count += depth == 0 ? 1 : spin(depth - 1);
    return count;
}
static_assert(spin(10) != 0);
int main() {}
