package org.distilltophone.core;

import java.io.IOException;
import java.nio.ByteBuffer;

/** Access to the files of a bundle: in a folder, or in the assets of an app. */
public interface BundleSource {
    /**
     * Reads a whole file.
     *
     * @param name path inside the bundle with '/', for example "golden/pixels.u8"
     * @return the content, from position 0 to limit; may be mapped or read-only
     * @throws IOException there is no such file, or it cannot be read
     */
    ByteBuffer read(String name) throws IOException;
}
