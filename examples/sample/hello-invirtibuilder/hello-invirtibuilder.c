/* Says which build of itself this is: the version comes from debian/changelog. */

#include <stdio.h>
#include <string.h>

#ifndef VERSION
#error "VERSION is not set: build with debian/rules"
#endif

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return puts(VERSION) < 0;
    if (argc != 1) {
        fprintf(stderr, "usage: %s [--version]\n", argv[0]);
        return 2;
    }
    return printf("Hello! I am hello-invirtibuilder %s: a commit when I left Git, a package when apt met me.\n", VERSION) < 0;
}
