"""Videos, through PyAV, whose wheels carry FFmpeg: decoded frames in, one complete and proved file out."""
