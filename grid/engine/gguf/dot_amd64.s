#include "textflag.h"

// Sums the eight lanes of Y0 into X0.
#define SUM_LANES \
	VEXTRACTF128 $1, Y0, X1 \
	VADDPS       X1, X0, X0 \
	VHADDPS      X0, X0, X0 \
	VHADDPS      X0, X0, X0

// func dotAVX2(a, b *float32, n int) float32
TEXT ·dotAVX2(SB), NOSPLIT, $0-28
	MOVQ   a+0(FP), AX
	MOVQ   b+8(FP), BX
	MOVQ   n+16(FP), CX
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	SUBQ   $32, CX
	JL     rest

by32:
	VMOVUPS     (AX), Y4
	VMOVUPS     32(AX), Y5
	VMOVUPS     64(AX), Y6
	VMOVUPS     96(AX), Y7
	VFMADD231PS (BX), Y4, Y0
	VFMADD231PS 32(BX), Y5, Y1
	VFMADD231PS 64(BX), Y6, Y2
	VFMADD231PS 96(BX), Y7, Y3
	ADDQ        $128, AX
	ADDQ        $128, BX
	SUBQ        $32, CX
	JGE         by32

rest:
	ADDQ $24, CX
	JL   done

by8:
	VMOVUPS     (AX), Y4
	VFMADD231PS (BX), Y4, Y0
	ADDQ        $32, AX
	ADDQ        $32, BX
	SUBQ        $8, CX
	JGE         by8

done:
	VADDPS Y1, Y0, Y0
	VADDPS Y3, Y2, Y2
	VADDPS Y2, Y0, Y0
	SUM_LANES
	VMOVSS X0, ret+24(FP)
	VZEROUPPER
	RET

// func dotHalfAVX2(a *uint16, b *float32, n int) float32
TEXT ·dotHalfAVX2(SB), NOSPLIT, $0-28
	MOVQ   a+0(FP), AX
	MOVQ   b+8(FP), BX
	MOVQ   n+16(FP), CX
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	SUBQ   $32, CX
	JL     rest

by32:
	VCVTPH2PS   (AX), Y4
	VCVTPH2PS   16(AX), Y5
	VCVTPH2PS   32(AX), Y6
	VCVTPH2PS   48(AX), Y7
	VFMADD231PS (BX), Y4, Y0
	VFMADD231PS 32(BX), Y5, Y1
	VFMADD231PS 64(BX), Y6, Y2
	VFMADD231PS 96(BX), Y7, Y3
	ADDQ        $64, AX
	ADDQ        $128, BX
	SUBQ        $32, CX
	JGE         by32

rest:
	ADDQ $24, CX
	JL   done

by8:
	VCVTPH2PS   (AX), Y4
	VFMADD231PS (BX), Y4, Y0
	ADDQ        $16, AX
	ADDQ        $32, BX
	SUBQ        $8, CX
	JGE         by8

done:
	VADDPS Y1, Y0, Y0
	VADDPS Y3, Y2, Y2
	VADDPS Y2, Y0, Y0
	SUM_LANES
	VMOVSS X0, ret+24(FP)
	VZEROUPPER
	RET

// func dotQ8AVX2(a, b *int8, scaleA, scaleB *float32, blocks int) float32
TEXT ·dotQ8AVX2(SB), NOSPLIT, $0-44
	MOVQ   a+0(FP), AX
	MOVQ   b+8(FP), BX
	MOVQ   scaleA+16(FP), SI
	MOVQ   scaleB+24(FP), DI
	MOVQ   blocks+32(FP), CX
	VXORPS Y0, Y0, Y0
	TESTQ  CX, CX
	JLE    done

block:
	VPMOVSXBW    (AX), Y4
	VPMOVSXBW    16(AX), Y5
	VPMOVSXBW    (BX), Y6
	VPMOVSXBW    16(BX), Y7
	VPMADDWD     Y6, Y4, Y4
	VPMADDWD     Y7, Y5, Y5
	VPADDD       Y5, Y4, Y4
	VCVTDQ2PS    Y4, Y4
	VMOVSS       (SI), X8
	VMULSS       (DI), X8, X8
	VBROADCASTSS X8, Y8
	VFMADD231PS  Y8, Y4, Y0
	ADDQ         $32, AX
	ADDQ         $32, BX
	ADDQ         $4, SI
	ADDQ         $4, DI
	DECQ         CX
	JNZ          block

done:
	SUM_LANES
	VMOVSS X0, ret+40(FP)
	VZEROUPPER
	RET

// func addScaledAVX2(out, x *float32, n int, w float32)
TEXT ·addScaledAVX2(SB), NOSPLIT, $0-28
	MOVQ         out+0(FP), AX
	MOVQ         x+8(FP), BX
	MOVQ         n+16(FP), CX
	VBROADCASTSS w+24(FP), Y0
	SUBQ         $8, CX
	JL           done

by8:
	VMOVUPS     (AX), Y1
	VFMADD231PS (BX), Y0, Y1
	VMOVUPS     Y1, (AX)
	ADDQ        $32, AX
	ADDQ        $32, BX
	SUBQ        $8, CX
	JGE         by8

done:
	VZEROUPPER
	RET
