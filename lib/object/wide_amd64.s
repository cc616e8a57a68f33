#include "textflag.h"

// Sixteen BLAKE3 inputs side by side, a lane each, in 512-bit registers (AVX-512F): Z0–Z7 are the chaining values, word by word, with Z8–Z15 the
// state of the compression function; Z16–Z31 are the message words of the block at hand. Names are those of the BLAKE3 paper §2.2.

DATA iv<>+0x00(SB)/4, $0x6a09e667
DATA iv<>+0x04(SB)/4, $0xbb67ae85
DATA iv<>+0x08(SB)/4, $0x3c6ef372
DATA iv<>+0x0c(SB)/4, $0xa54ff53a
DATA iv<>+0x10(SB)/4, $0x510e527f
DATA iv<>+0x14(SB)/4, $0x9b05688c
DATA iv<>+0x18(SB)/4, $0x1f83d9ab
DATA iv<>+0x1c(SB)/4, $0x5be0cd19
GLOBL iv<>(SB), RODATA|NOPTR, $32

#define ADD4(s0, s1, s2, s3, d0, d1, d2, d3) \
	VPADDD s0, d0, d0; VPADDD s1, d1, d1; VPADDD s2, d2, d2; VPADDD s3, d3, d3

#define XOR4(n, s0, s1, s2, s3, d0, d1, d2, d3) \
	VPXORD s0, d0, d0; VPXORD s1, d1, d1; VPXORD s2, d2, d2; VPXORD s3, d3, d3; \
	VPRORD n, d0, d0; VPRORD n, d1, d1; VPRORD n, d2, d2; VPRORD n, d3, d3

// G4 is the quarter round on four columns or diagonals at once. a is Z0–Z3.
#define G4(b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3, x0, x1, x2, x3, y0, y1, y2, y3) \
	ADD4(x0, x1, x2, x3, Z0, Z1, Z2, Z3); ADD4(b0, b1, b2, b3, Z0, Z1, Z2, Z3); \
	XOR4($16, Z0, Z1, Z2, Z3, d0, d1, d2, d3); ADD4(d0, d1, d2, d3, c0, c1, c2, c3); \
	XOR4($12, c0, c1, c2, c3, b0, b1, b2, b3); \
	ADD4(y0, y1, y2, y3, Z0, Z1, Z2, Z3); ADD4(b0, b1, b2, b3, Z0, Z1, Z2, Z3); \
	XOR4($8, Z0, Z1, Z2, Z3, d0, d1, d2, d3); ADD4(d0, d1, d2, d3, c0, c1, c2, c3); \
	XOR4($7, c0, c1, c2, c3, b0, b1, b2, b3)

#define ROUND(m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15) \
	G4(Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, m0, m2, m4, m6, m1, m3, m5, m7); \
	G4(Z5, Z6, Z7, Z4, Z10, Z11, Z8, Z9, Z15, Z12, Z13, Z14, m8, m10, m12, m14, m9, m11, m13, m15)

// ZIP4 transposes 4 × 4 words in each quarter of four registers; t is scratch.
#define ZIP4(r0, r1, r2, r3, t0, t1, t2, t3) \
	VPUNPCKLDQ r1, r0, t0; VPUNPCKHDQ r1, r0, t1; VPUNPCKLDQ r3, r2, t2; VPUNPCKHDQ r3, r2, t3; \
	VPUNPCKLQDQ t2, t0, r0; VPUNPCKHQDQ t2, t0, r1; VPUNPCKLQDQ t3, t1, r2; VPUNPCKHQDQ t3, t1, r3

// TURN4 transposes the 4 × 4 quarters of four registers; t is scratch.
#define TURN4(r0, r1, r2, r3, t0, t1, t2, t3) \
	VSHUFI32X4 $0x88, r1, r0, t0; VSHUFI32X4 $0xdd, r1, r0, t1; VSHUFI32X4 $0x88, r3, r2, t2; VSHUFI32X4 $0xdd, r3, r2, t3; \
	VSHUFI32X4 $0x88, t2, t0, r0; VSHUFI32X4 $0x88, t3, t1, r1; VSHUFI32X4 $0xdd, t2, t0, r2; VSHUFI32X4 $0xdd, t3, t1, r3

#define LOAD4(r0, r1, r2, r3) \
	VMOVDQU32 (SI), r0; VMOVDQU32 (SI)(R8*1), r1; VMOVDQU32 (SI)(R8*2), r2; VMOVDQU32 (SI)(R9*1), r3; LEAQ (SI)(R8*4), SI

// FETCH4 asks for four cache lines of the sixteen inputs behind these; a processor sees no order in the sixteen places that are read from.
#define FETCH4(at) \
	PREFETCHT0 at(AX); PREFETCHT0 (at+64)(AX); PREFETCHT0 (at+128)(AX); PREFETCHT0 (at+192)(AX)

// STORE4 writes half of the chaining values of lanes i, i+4, i+8, i+12.
#define STORE4(r, at) \
	VEXTRACTI32X4 $0, r, at(DI); VEXTRACTI32X4 $1, r, (at+128)(DI); VEXTRACTI32X4 $2, r, (at+256)(DI); VEXTRACTI32X4 $3, r, (at+384)(DI)

// func compress16(out *[16]chainingValue, in *byte, stride, blocks int, counter *[2][16]uint32, first, every, last uint32)
TEXT ·compress16(SB), NOSPLIT, $0-52
	MOVQ out+0(FP), DI
	MOVQ in+8(FP), DX
	MOVQ stride+16(FP), R8
	MOVQ blocks+24(FP), CX
	MOVQ counter+32(FP), R10
	MOVL first+40(FP), R11
	MOVL every+44(FP), R12
	MOVL last+48(FP), R13
	LEAQ (R8)(R8*2), R9
	ORL  R12, R11
	MOVQ R8, AX
	SHLQ $4, AX
	ADDQ DX, AX
	MOVL $64, BX
	VPBROADCASTD iv<>+0x00(SB), Z0
	VPBROADCASTD iv<>+0x04(SB), Z1
	VPBROADCASTD iv<>+0x08(SB), Z2
	VPBROADCASTD iv<>+0x0c(SB), Z3
	VPBROADCASTD iv<>+0x10(SB), Z4
	VPBROADCASTD iv<>+0x14(SB), Z5
	VPBROADCASTD iv<>+0x18(SB), Z6
	VPBROADCASTD iv<>+0x1c(SB), Z7

block:
	MOVQ DX, SI
	LOAD4(Z16, Z17, Z18, Z19)
	LOAD4(Z20, Z21, Z22, Z23)
	LOAD4(Z24, Z25, Z26, Z27)
	LOAD4(Z28, Z29, Z30, Z31)
	ZIP4(Z16, Z17, Z18, Z19, Z8, Z9, Z10, Z11)
	ZIP4(Z20, Z21, Z22, Z23, Z12, Z13, Z14, Z15)
	ZIP4(Z24, Z25, Z26, Z27, Z8, Z9, Z10, Z11)
	ZIP4(Z28, Z29, Z30, Z31, Z12, Z13, Z14, Z15)
	// Now Z16, Z20, Z24, Z28 hold words 0, 4, 8, 12 of four lanes each, and so on: TURN4 leaves word 4i+j in Z(16+4i+j).
	TURN4(Z16, Z20, Z24, Z28, Z8, Z9, Z10, Z11)
	TURN4(Z17, Z21, Z25, Z29, Z12, Z13, Z14, Z15)
	TURN4(Z18, Z22, Z26, Z30, Z8, Z9, Z10, Z11)
	TURN4(Z19, Z23, Z27, Z31, Z12, Z13, Z14, Z15)
	FETCH4(0)
	FETCH4(256)
	FETCH4(512)
	FETCH4(768)
	ADDQ $1024, AX
	CMPQ CX, $1
	JNE  more
	ORL  R13, R11

more:
	VPBROADCASTD iv<>+0x00(SB), Z8
	VPBROADCASTD iv<>+0x04(SB), Z9
	VPBROADCASTD iv<>+0x08(SB), Z10
	VPBROADCASTD iv<>+0x0c(SB), Z11
	VMOVDQU32 (R10), Z12
	VMOVDQU32 64(R10), Z13
	VPBROADCASTD BX, Z14
	VPBROADCASTD R11, Z15
	ROUND(Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31)
	ROUND(Z18, Z22, Z19, Z26, Z23, Z16, Z20, Z29, Z17, Z27, Z28, Z21, Z25, Z30, Z31, Z24)
	ROUND(Z19, Z20, Z26, Z28, Z29, Z18, Z23, Z30, Z22, Z21, Z25, Z16, Z27, Z31, Z24, Z17)
	ROUND(Z26, Z23, Z28, Z25, Z30, Z19, Z29, Z31, Z20, Z16, Z27, Z18, Z21, Z24, Z17, Z22)
	ROUND(Z28, Z29, Z25, Z27, Z31, Z26, Z30, Z24, Z23, Z18, Z21, Z19, Z16, Z17, Z22, Z20)
	ROUND(Z25, Z30, Z27, Z21, Z24, Z28, Z31, Z17, Z29, Z19, Z16, Z26, Z18, Z22, Z20, Z23)
	ROUND(Z27, Z31, Z21, Z16, Z17, Z25, Z24, Z22, Z30, Z26, Z18, Z28, Z19, Z20, Z23, Z29)
	VPXORD Z8, Z0, Z0
	VPXORD Z9, Z1, Z1
	VPXORD Z10, Z2, Z2
	VPXORD Z11, Z3, Z3
	VPXORD Z12, Z4, Z4
	VPXORD Z13, Z5, Z5
	VPXORD Z14, Z6, Z6
	VPXORD Z15, Z7, Z7
	MOVL R12, R11
	ADDQ $64, DX
	DECQ CX
	JNZ  block

	ZIP4(Z0, Z1, Z2, Z3, Z8, Z9, Z10, Z11)
	ZIP4(Z4, Z5, Z6, Z7, Z12, Z13, Z14, Z15)
	STORE4(Z0, 0)
	STORE4(Z4, 16)
	STORE4(Z1, 32)
	STORE4(Z5, 48)
	STORE4(Z2, 64)
	STORE4(Z6, 80)
	STORE4(Z3, 96)
	STORE4(Z7, 112)
	VZEROUPPER
	RET
