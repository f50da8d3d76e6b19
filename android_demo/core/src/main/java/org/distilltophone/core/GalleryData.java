package org.distilltophone.core;

import java.io.Closeable;
import java.io.EOFException;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;

/** The bytes of a gallery: a file of any size, or a buffer. */
abstract class GalleryData implements Closeable {
    abstract long size();

    /** A stretch that is used over and over, little-endian, from position 0. */
    abstract ByteBuffer section(long offset, int bytes) throws IOException;

    /** A few bytes that are used once. */
    abstract byte[] piece(long offset, int bytes) throws IOException;

    static GalleryData of(ByteBuffer whole) {
        final ByteBuffer all = whole.slice();
        return new GalleryData() {
            @Override
            long size() {
                return all.capacity();
            }

            @Override
            ByteBuffer section(long offset, int bytes) {
                ByteBuffer view = all.duplicate();
                view.position((int) offset);
                view.limit((int) offset + bytes);
                return view.slice().order(ByteOrder.LITTLE_ENDIAN);
            }

            @Override
            byte[] piece(long offset, int bytes) {
                byte[] out = new byte[bytes];
                section(offset, bytes).get(out);
                return out;
            }

            @Override
            public void close() {}
        };
    }

    static GalleryData of(File file) throws IOException {
        if (!file.isFile()) {
            throw new BadFileException(file + ": no such gallery", "make one with distill-index");
        }
        final FileInputStream stream = new FileInputStream(file);
        final FileChannel channel = stream.getChannel();
        final long size = channel.size();
        return new GalleryData() {
            @Override
            long size() {
                return size;
            }

            @Override
            ByteBuffer section(long offset, int bytes) throws IOException {
                return channel.map(FileChannel.MapMode.READ_ONLY, offset, bytes).order(ByteOrder.LITTLE_ENDIAN);
            }

            @Override
            byte[] piece(long offset, int bytes) throws IOException {
                ByteBuffer out = ByteBuffer.allocate(bytes);
                while (out.hasRemaining()) {
                    int got = channel.read(out, offset + out.position());
                    if (got < 0) {
                        throw new EOFException("the gallery became shorter");
                    }
                }
                return out.array();
            }

            @Override
            public void close() throws IOException {
                stream.close();
            }
        };
    }
}
