#include <string>

int main() {
    std::string text = "x";
    for (int doubled = 0; doubled < 31; doubled++)
        text += text;
    return text.size() == 7;
}
