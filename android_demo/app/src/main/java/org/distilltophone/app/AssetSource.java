package org.distilltophone.app;

import android.content.res.AssetFileDescriptor;
import android.content.res.AssetManager;
import java.io.ByteArrayOutputStream;
import java.io.FileInputStream;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import org.distilltophone.core.BadFileException;
import org.distilltophone.core.BundleSource;

/** A bundle in the assets of the app. Uncompressed assets are memory-mapped, not copied. */
final class AssetSource implements BundleSource {
    private final AssetManager assets;
    private final String folder;
    private final String cure;

    /** @param cure advice for the user if a file is missing */
    AssetSource(AssetManager assets, String folder, String cure) {
        this.assets = assets;
        this.folder = folder;
        this.cure = cure;
    }

    @Override
    public ByteBuffer read(String name) throws IOException {
        String path = folder.isEmpty() ? name : folder + "/" + name;
        try {
            return map(path);
        } catch (FileNotFoundException compressedOrMissing) {
            return copy(path);
        }
    }

    private ByteBuffer map(String path) throws IOException {
        AssetFileDescriptor asset = assets.openFd(path);
        try {
            FileInputStream stream = new FileInputStream(asset.getFileDescriptor());
            try {
                return stream.getChannel().map(FileChannel.MapMode.READ_ONLY, asset.getStartOffset(), asset.getLength());
            } finally {
                stream.close();
            }
        } finally {
            asset.close();
        }
    }

    private ByteBuffer copy(String path) throws IOException {
        InputStream stream;
        try {
            stream = assets.open(path);
        } catch (FileNotFoundException missing) {
            throw new BadFileException(path + ": not in the app", cure);
        }
        try {
            ByteArrayOutputStream all = new ByteArrayOutputStream();
            byte[] part = new byte[1 << 16];
            for (int got = stream.read(part); got >= 0; got = stream.read(part)) {
                all.write(part, 0, got);
            }
            ByteBuffer direct = ByteBuffer.allocateDirect(all.size());
            direct.put(all.toByteArray()).flip();
            return direct;
        } finally {
            stream.close();
        }
    }
}
