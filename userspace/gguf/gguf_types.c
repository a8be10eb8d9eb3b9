// SPDX-License-Identifier: MIT
/*
 * The table of tensor types: name, weights per block, bytes per block.
 *
 * Ids without a row were never given out or have been removed from the format
 * (4, 5, 31-33, 36-38): a file that uses them is refused.
 */
#include "gguf_priv.h"

static const struct pst_gguf_type types[] = {
	[0] = { "F32", 1, 4 },	       [1] = { "F16", 1, 2 },
	[2] = { "Q4_0", 32, 18 },      [3] = { "Q4_1", 32, 20 },
	[6] = { "Q5_0", 32, 22 },      [7] = { "Q5_1", 32, 24 },
	[8] = { "Q8_0", 32, 34 },      [9] = { "Q8_1", 32, 36 },
	[10] = { "Q2_K", 256, 84 },    [11] = { "Q3_K", 256, 110 },
	[12] = { "Q4_K", 256, 144 },   [13] = { "Q5_K", 256, 176 },
	[14] = { "Q6_K", 256, 210 },   [15] = { "Q8_K", 256, 292 },
	[16] = { "IQ2_XXS", 256, 66 }, [17] = { "IQ2_XS", 256, 74 },
	[18] = { "IQ3_XXS", 256, 98 }, [19] = { "IQ1_S", 256, 50 },
	[20] = { "IQ4_NL", 32, 18 },   [21] = { "IQ3_S", 256, 110 },
	[22] = { "IQ2_S", 256, 82 },   [23] = { "IQ4_XS", 256, 136 },
	[24] = { "I8", 1, 1 },	       [25] = { "I16", 1, 2 },
	[26] = { "I32", 1, 4 },	       [27] = { "I64", 1, 8 },
	[28] = { "F64", 1, 8 },	       [29] = { "IQ1_M", 256, 56 },
	[30] = { "BF16", 1, 2 },       [34] = { "TQ1_0", 256, 54 },
	[35] = { "TQ2_0", 256, 66 },   [39] = { "MXFP4", 32, 17 },
	[40] = { "NVFP4", 64, 36 },    [41] = { "Q1_0", 128, 18 },
	[42] = { "Q2_0", 64, 18 },
};

const struct pst_gguf_type *pst_gguf_type(uint32_t id)
{
	if (id >= PST_ARRAY_SIZE(types) || !types[id].name)
		return NULL;
	return &types[id];
}

uint32_t pst_gguf_vtype_bytes(uint32_t type)
{
	static const uint8_t bytes[PST_GGUF_VTYPE_COUNT] = {
		[PST_GGUF_U8] = 1,  [PST_GGUF_I8] = 1,	 [PST_GGUF_U16] = 2,
		[PST_GGUF_I16] = 2, [PST_GGUF_U32] = 4,	 [PST_GGUF_I32] = 4,
		[PST_GGUF_F32] = 4, [PST_GGUF_BOOL] = 1, [PST_GGUF_U64] = 8,
		[PST_GGUF_I64] = 8, [PST_GGUF_F64] = 8,
	};

	return type < PST_GGUF_VTYPE_COUNT ? bytes[type] : 0;
}
