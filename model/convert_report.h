/* convert_report.h — what a conversion did, tensor by tensor, as JSON.
 *
 * Threads: one.
 */
#ifndef BN_MODEL_CONVERT_REPORT_H
#define BN_MODEL_CONVERT_REPORT_H

#include "model/convert_plan.h"

/* Sums over the ternary tensors. */
void bn_convert_report_sum(const bn_convert_plan *plan, bn_convert_result *result);

/* Writes the file job->report; removed again when it cannot be written whole. */
BN_CHECKED bn_status bn_convert_report_write(const bn_convert_job *job, const bn_convert_plan *plan,
                                             const bn_convert_result *result);

#endif
