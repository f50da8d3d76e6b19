package org.distilltophone.core;

import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;

/** A bundle in a folder. Files are mapped, not copied. */
public final class FolderSource implements BundleSource {
    private static final String AGAIN = "copy the whole folder again";
    private final File folder;

    public FolderSource(File folder) {
        this.folder = folder;
    }

    @Override
    public ByteBuffer read(String name) throws IOException {
        File file = new File(folder, name);
        String root = folder.getCanonicalPath();
        if (!file.getCanonicalPath().startsWith(root + File.separator)) {
            throw new BadFileException(file + ": leads out of the bundle", "do not trust this bundle");
        }
        if (!file.isFile()) {
            throw new BadFileException(file + ": missing", AGAIN);
        }
        try (FileInputStream stream = new FileInputStream(file)) {
            FileChannel channel = stream.getChannel();
            long size = channel.size();
            if (size > Integer.MAX_VALUE) {
                throw new BadFileException(file + ": " + size + " bytes are too many", AGAIN);
            }
            return channel.map(FileChannel.MapMode.READ_ONLY, 0, size);
        }
    }
}
