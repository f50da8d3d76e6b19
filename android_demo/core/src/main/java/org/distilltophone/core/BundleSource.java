package org.distilltophone.core;

import java.io.IOException;
import java.nio.ByteBuffer;

/** Where the files of a bundle lie: a folder, or the assets of an app. */
public interface BundleSource {
    /**
     * The whole content of one file.
     *
     * @param name a path inside the bundle, with '/', for example "golden/pixels.u8"
     * @return from position 0 to limit = size; may be mapped or read-only
     * @throws IOException no such file, or it cannot be read
     */
    ByteBuffer read(String name) throws IOException;
}
