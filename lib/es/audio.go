package es

// Every frame of these is a random access point, so what their readers look at only names them.

// readMP2 looks at the header of a frame, ISO/IEC 11172-3 §2.4.1.3.
func readMP2(f *Finder, b []byte, whole bool) int {
	if len(b) < 2 && !whole {
		return 2
	}
	f.verdict = RandomAccess
	if len(b) >= 2 && b[0] == 0xff && b[1]&0xf0 == 0xf0 {
		f.name(b[1] >> 3 & 1) // ID: 1 is MPEG-1
	}
	return readOn
}

// readADTS looks at the header of a frame, ISO/IEC 13818-7 §6.2.1.
func readADTS(f *Finder, b []byte, whole bool) int {
	if len(b) < 3 && !whole {
		return 3
	}
	f.verdict = RandomAccess
	if len(b) >= 3 && b[0] == 0xff && b[1]&0xf6 == 0xf0 {
		f.name(b[2]>>6 + 1) // profile; audio object types count from 1
	}
	return readOn
}

// readLOAS looks at AudioSyncStream and the StreamMuxConfig in it, ISO/IEC 14496-3 §1.7.2 and §1.7.3.
func readLOAS(f *Finder, b []byte, whole bool) int {
	if len(b) < 6 && !whole {
		return 6
	}
	f.verdict = RandomAccess
	// useSameStreamMux 0, audioMuxVersion 0, 14 bits of counts, then audioObjectType; 31 is an escape
	if len(b) >= 6 && b[0] == 0x56 && b[1]&0xe0 == 0xe0 && b[3]&0xc0 == 0 {
		if kind := b[5] >> 3; kind > 0 && kind < 31 {
			f.name(kind)
		}
	}
	return readOn
}

// readMHAS looks at the packets of MPEG-H 3D audio, ISO/IEC 23008-3 §14: a configuration that follows a sync packet is where
// decoding can start, a frame that follows one is not. Anything else does not say.
func readMHAS(f *Finder, b []byte, whole bool) int {
	if len(b) < 6 && !whole {
		return 6
	}
	if len(b) < 4 || string(b[:3]) != "\xc0\x01\xa5" { // PACTYP_SYNC
		f.decideByFlag()
		return readOn
	}
	switch b[3] >> 5 { // MHASPacketType, then 2 bits of label and 11 of length
	case 1: // PACTYP_MPEGH3DACFG
		f.verdict = RandomAccess
		if len(b) >= 6 && b[3]&0x18 != 0x18 && (b[3]&7 != 7 || b[4] != 0xff) { // neither is an escape
			f.name(b[5]) // mpegh3daProfileLevelIndication
		}
	case 2: // PACTYP_MPEGH3DAFRAME
		f.verdict = NotRandomAccess
	default:
		f.decideByFlag()
	}
	return readOn
}
