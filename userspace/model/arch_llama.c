// SPDX-License-Identifier: MIT
/*
 * Llama 1 to 3, Mistral, Falcon3, SmolLM2; with experts: Mixtral.
 */
#include "arch_rows.h"

const struct pst_arch pst_arch_llama = {
	.name = "llama",
	.rope = PST_ROPE_NORM,
	.experts = PST_EXPERTS_OPTIONAL,
	.ff_is_expert = true,
	.norm_topk = true,
};
