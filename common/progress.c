/* progress.c — one line, drawn over itself with a carriage return. */
#include "common/progress.h"

#include "common/clock.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define REDRAW_MS 100
#define BAR_CELLS 24
#define CLEAR_LINE "\r\x1b[K"

static void write_stderr(const char *text, size_t n)
{
    while (write(STDERR_FILENO, text, n) < 0 && errno == EINTR) {
    }
}

void bn_progress_begin(bn_progress *progress, const char *label, uint64_t total)
{
    *progress = (bn_progress){
        .label = label,
        .total = total,
        .began_at_ms = bn_clock_ms(),
        .is_terminal = isatty(STDERR_FILENO) == 1,
    };
}

static void draw(bn_progress *progress, uint64_t done, uint64_t now_ms)
{
    double part = progress->total == 0 ? 1.0 : (double)done / (double)progress->total;
    if (part > 1.0) part = 1.0;
    char bar[BAR_CELLS + 1];
    size_t n_full = (size_t)(part * BAR_CELLS);
    memset(bar, '#', n_full);
    memset(bar + n_full, '.', BAR_CELLS - n_full);
    bar[BAR_CELLS] = '\0';

    char left[32] = "";
    double elapsed_s = (double)(now_ms - progress->began_at_ms) / 1000.0;
    if (part > 0.0 && elapsed_s >= 2.0)
        snprintf(left, sizeof left, ", %.0f s left", elapsed_s * (1.0 - part) / part);
    char line[160];
    int n = snprintf(line, sizeof line, CLEAR_LINE "%.60s [%s] %3.0f %%%s", progress->label, bar,
                     part * 100.0, left);
    if (n > 0) write_stderr(line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
    progress->is_drawn = true;
    progress->drawn_at_ms = now_ms;
}

void bn_progress_update(bn_progress *progress, uint64_t done)
{
    if (!progress->is_terminal) return;
    uint64_t now_ms = bn_clock_ms();
    /* Work that ends at once never shows a bar. */
    uint64_t last_ms = progress->is_drawn ? progress->drawn_at_ms : progress->began_at_ms;
    if (now_ms - last_ms >= REDRAW_MS) draw(progress, done, now_ms);
}

void bn_progress_end(bn_progress *progress)
{
    if (progress->is_drawn) write_stderr(CLEAR_LINE, sizeof CLEAR_LINE - 1);
    progress->is_drawn = false;
}

void bn_progress_bytes_text(uint64_t bytes, char text_out[16])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t unit = 0;
    /* From 1023.95 on, one digit would round to 1024.0. */
    while (value >= 1023.95 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1024.0;
        unit++;
    }
    snprintf(text_out, 16, "%.*f %s", unit == 0 ? 0 : 1, value, units[unit]);
}
