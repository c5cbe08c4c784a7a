/* Grey pictures in files: binary PGM ("P5"), a byte a pixel, as floats from 0 to 255. */
#ifndef PGM_H
#define PGM_H

#include <stdio.h>
#include <stdlib.h>

typedef struct {
    int height, width;
    float *pixels; /* [height][width], from malloc */
} pgm;

/* The next number of a header, which comments may interrupt; -1 if there is none. */
static int pgm_number(FILE *file) {
    int number = -1, c = getc(file);
    while (c == '#' || c == ' ' || c == '\n' || c == '\r' || c == '\t') {
        if (c == '#') {
            while (c != '\n' && c != EOF) {
                c = getc(file);
            }
        }
        c = getc(file);
    }
    while (c >= '0' && c <= '9' && number < 100000) {
        number = (number < 0 ? 0 : 10 * number) + (c - '0');
        c = getc(file);
    }
    return number;
}

/* 0, or -1 if the file cannot be read, is no such picture, or does not fit into memory. */
static int pgm_read(const char *path, pgm *picture) {
    FILE *file = fopen(path, "rb");
    int maximum, failed = -1;
    picture->pixels = NULL;
    if (file == NULL) {
        return -1;
    }
    if (getc(file) == 'P' && getc(file) == '5') {
        picture->width = pgm_number(file);
        picture->height = pgm_number(file);
        maximum = pgm_number(file);
        if (picture->width > 0 && picture->height > 0 && maximum > 0 && maximum < 256) {
            size_t i, count = (size_t)picture->width * (size_t)picture->height;
            picture->pixels = (float *)malloc(count * sizeof(float));
            failed = picture->pixels == NULL ? -1 : 0;
            for (i = 0; i < count && !failed; i++) {
                int c = getc(file);
                picture->pixels[i] = (float)c;
                failed = c == EOF ? -1 : 0;
            }
        }
    }
    fclose(file);
    if (failed) {
        free(picture->pixels);
        picture->pixels = NULL;
    }
    return failed;
}

/* 0, or -1 if the file cannot be written; values beyond 0 to 255 become the nearest of them. */
static int pgm_write(const char *path, int height, int width, const float *pixels) {
    FILE *file = fopen(path, "wb");
    size_t i;
    int failed;
    if (file == NULL) {
        return -1;
    }
    fprintf(file, "P5\n%d %d\n255\n", width, height);
    for (i = 0; i < (size_t)height * (size_t)width; i++) {
        float value = pixels[i] < 0 ? 0 : pixels[i] > 255 ? 255 : pixels[i];
        putc((int)(value + 0.5f), file);
    }
    failed = ferror(file) ? -1 : 0;
    return fclose(file) == 0 ? failed : -1;
}

#endif
