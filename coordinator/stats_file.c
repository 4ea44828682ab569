/* stats_file.c — the names are those of bn_stats. */
#include "coordinator/stats_file.h"

#include "common/json.h"
#include "common/log.h"
#include "common/progress.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define STATS_TIMEOUT_MS 5000u

static bn_json *worker_json(const bn_member *member)
{
    const bn_stats *stats = &member->stats;
    char name[BN_MEMBER_NAME_MAX];
    bn_json *json = bn_json_object();
    bn_json_set_text(json, "name", bn_member_name(member, name));
    bn_json_set_text(json, "node", member->hello.node);
    bn_json_set_u64(json, "pid", member->hello.process_id);
    bn_json_set_u64(json, "epoch", stats->epoch);
    bn_json_set_u64(json, "stage", stats->stage);
    bn_json_set_u64(json, "layer_begin", stats->layer_begin);
    bn_json_set_u64(json, "layer_end", stats->layer_end);
    bn_json_set_text(json, "link", stats->link);
    bn_json_set_text(json, "isa", stats->isa);
    bn_json_set_u64(json, "threads", stats->threads);
    bn_json_set_u64(json, "threads_working", stats->threads_working);
    bn_json_set_u64(json, "steps", stats->steps);
    bn_json_set_u64(json, "tokens", stats->tokens);
    bn_json_set_u64(json, "link_bytes_in", stats->link_bytes_in);
    bn_json_set_u64(json, "link_bytes_out", stats->link_bytes_out);
    bn_json_set_u64(json, "link_frames_in", stats->link_frames_in);
    bn_json_set_u64(json, "link_frames_out", stats->link_frames_out);
    bn_json_set_u64(json, "entries_max", stats->entries_max);
    bn_json_set_u64(json, "tokens_max", stats->tokens_max);
    bn_json_set_u64(json, "queued_max", stats->queued_max);
    bn_json_set_u64(json, "compute_ns", stats->compute_ns);
    bn_json_set_u64(json, "wait_ns", stats->wait_ns);
    bn_json_set_u64(json, "head_ns", stats->head_ns);
    bn_json_set_u64(json, "head_whole", stats->head_whole);
    bn_json_set_u64(json, "head_screened", stats->head_screened);
    bn_json_set_u64(json, "head_survivors", stats->head_survivors);
    bn_json_set_u64(json, "resident_bytes", stats->resident_bytes);
    bn_json_set_u64(json, "resident_peak_bytes", stats->resident_peak_bytes);
    bn_json_set_u64(json, "kv_pages_used", stats->kv_pages_used);
    bn_json_set_u64(json, "kv_pages_total", stats->kv_pages_total);
    bn_json_set_u64(json, "weights_bytes", member->loaded.weights_bytes);
    bn_json_set_u64(json, "kv_bytes", member->loaded.kv_bytes);
    bn_json_set_u64(json, "buffers_bytes", member->loaded.buffers_bytes);
    return json;
}

bn_status bn_stats_file_write(const char *path, bn_cluster *cluster,
                              const bn_scheduler_counts *counts)
{
    BN_TRY(bn_cluster_collect_stats(cluster, STATS_TIMEOUT_MS));
    const bn_formation *formation = bn_cluster_formation(cluster);
    bn_json *json = bn_json_object(), *workers = bn_json_array();
    for (uint32_t i = 0; i < formation->n_stages; i++)
        bn_json_add(workers, worker_json(formation->stages[i]));
    bn_json_set(json, "workers", workers);
    bn_json_set_u64(json, "epoch", bn_cluster_epoch(cluster));
    bn_json_set_u64(json, "epochs", 1);
    bn_json_set_text(json, "link", bn_formation_link_name(formation->link));
    bn_json_set_u64(json, "steps", counts->steps);
    bn_json_set_u64(json, "tokens", counts->tokens);
    bn_json_set_u64(json, "steps_in_flight_max", counts->in_flight_max);
    bn_json_set_u64(json, "entries_max", counts->entries_max);
    bn_json_set_u64(json, "tokens_max", counts->tokens_max);
    bool is_stderr = strcmp(path, "-") == 0;
    FILE *file = is_stderr ? stderr : fopen(path, "w");
    bn_status status = BN_ERR_IO;
    if (file != NULL) {
        status = bn_json_print(json, file, 2);
        if (!is_stderr && fclose(file) != 0) status = BN_ERR_IO;
    }
    bn_json_free(json);
    if (status != BN_OK)
        return bn_fail(status, "STATS-WRITE", "cannot write %s: %s", path, strerror(errno));
    return BN_OK;
}

void bn_stats_file_print(const bn_cluster *cluster, const bn_scheduler_counts *counts, FILE *stream)
{
    const bn_formation *formation = bn_cluster_formation(cluster);
    fprintf(stream, "%" PRIu64 " steps, %" PRIu64 " tokens, at most %u steps in flight\n",
            counts->steps, counts->tokens, counts->in_flight_max);
    for (uint32_t i = 0; i < formation->n_stages; i++) {
        const bn_stats *stats = &formation->stages[i]->stats;
        char resident[16], sent[16];
        bn_progress_bytes_text(stats->resident_bytes, resident);
        bn_progress_bytes_text(stats->link_bytes_out, sent);
        double busy = (double)stats->compute_ns, idle = (double)stats->wait_ns;
        double share = busy + idle > 0.0 ? 100.0 * busy / (busy + idle) : 0.0;
        fprintf(stream, "%s: %s, %u thread%s, busy %.0f %%, resident %s, sent %s over %s\n",
                formation->names[i], stats->isa, stats->threads, stats->threads == 1 ? "" : "s",
                share, resident, sent, stats->link);
        if (stats->head_screened > 0)
            fprintf(stream,
                    "%s: head screened for %" PRIu64 " of %" PRIu64
                    " positions, %.0f rows computed for each\n",
                    formation->names[i], stats->head_screened,
                    stats->head_screened + stats->head_whole,
                    (double)stats->head_survivors / (double)stats->head_screened);
    }
}
