package org.distilltophone.jvm;

import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import org.distilltophone.core.BadFileException;
import org.distilltophone.core.BundleSource;
import org.distilltophone.core.Gallery;

/** A bundle in a folder. Files are memory-mapped. */
final class FolderSource implements BundleSource {
    private static final String CURE = "copy the whole folder again";
    private final File folder;

    FolderSource(File folder) {
        this.folder = folder;
    }

    @Override
    public ByteBuffer read(String name) throws IOException {
        File file = new File(folder, name);
        String root = folder.getCanonicalPath();
        if (!file.getCanonicalPath().startsWith(root + File.separator)) {
            throw new BadFileException(file + ": leads out of the bundle", "do not trust this bundle");
        }
        return map(file, CURE);
    }

    /** Opens a gallery file. */
    static Gallery gallery(File file) throws IOException {
        return Gallery.of(map(file, "make one with distill-index"));
    }

    private static ByteBuffer map(File file, String cure) throws IOException {
        if (!file.isFile()) {
            throw new BadFileException(file + ": missing", cure);
        }
        try (FileInputStream stream = new FileInputStream(file)) {
            FileChannel channel = stream.getChannel();
            long size = channel.size();
            if (size > Integer.MAX_VALUE) {
                throw new BadFileException(file + ": " + size + " bytes are too many", cure);
            }
            return channel.map(FileChannel.MapMode.READ_ONLY, 0, size);
        }
    }
}
