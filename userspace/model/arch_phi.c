// SPDX-License-Identifier: MIT
/*
 * Phi-3, 3.5 and 4: gate and up in one matrix; the angles' divisors depend on
 * the context in use.  A sliding_window in the file is not applied: files of
 * models without one have the key too.
 */
#include "arch_rows.h"

const struct pst_arch pst_arch_phi3 = {
	.name = "phi3",
	.rope = PST_ROPE_NEOX,
	.ffn_fused = true,
	.rope_factors = true,
};
