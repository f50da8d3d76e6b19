package org.distilltophone.core;

import java.io.BufferedInputStream;
import java.io.Closeable;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.StandardCopyOption;
import java.util.Arrays;
import java.util.zip.CRC32;

/**
 * The append-only file of {@link PhotoIndex}. Each record has a checksum, so a valid prefix survives a kill at any
 * moment. Bytes after the last complete record are cut off when the file is opened.
 *
 * <p>Layout, big-endian: magic (8 bytes), version and dimension (4 each), SHA-256 of the model file (64 hex digits), CRC-32
 * of these; then records: length of the body and its CRC-32 (4 bytes each), body = type (1), stamp (8), length of the id
 * (2), id (UTF-8), and D int8 codes in an ADDED record.
 */
final class PhotoLog implements Closeable {
    /** A photo and its row. */
    static final int ADDED = 1;
    /** The photo cannot be decoded. */
    static final int SKIPPED = 2;
    /** The photo no longer exists. */
    static final int REMOVED = 3;
    /** Processing begins. If a decoder crashes the process, this is the last record of the photo. */
    static final int ATTEMPT = 4;

    static final int MAX_ID = 4000;
    private static final long MAGIC = 0x445450_50484F544FL; // "DTPPHOTO"
    private static final int VERSION = 1;
    private static final int HEADER = 8 + 4 + 4 + 64 + 4;
    private static final int RECORD = 8 + 1 + 8 + 2;
    private static final byte[] NO_ROW = new byte[0];

    /** Receives the records when the file is opened. */
    interface Visitor {
        void record(int type, String id, long stamp, byte[] row);
    }

    private final File file;
    private final int dimension;
    private final String model;
    private RandomAccessFile out;
    private ByteBuffer scratch = ByteBuffer.allocate(1024);
    private long length;

    /**
     * Opens or creates the file. A file of another model, or a foreign file, is replaced by an empty one.
     *
     * @param model SHA-256 of the model file
     */
    PhotoLog(File file, String model, int dimension, Visitor visitor) throws IOException {
        this.file = file;
        this.model = model;
        this.dimension = dimension;
        Files.deleteIfExists(temporary().toPath());
        length = file.isFile() ? replay(visitor) : 0;
        if (length == 0) {
            startAnew();
        }
        out = new RandomAccessFile(file, "rw");
        out.setLength(length);
        out.seek(length);
    }

    private File temporary() {
        return new File(file.getPath() + ".tmp");
    }

    private void startAnew() throws IOException {
        try (RandomAccessFile fresh = new RandomAccessFile(temporary(), "rw")) {
            fresh.write(header());
            fresh.getFD().sync();
        }
        rename();
        length = HEADER;
    }

    private void rename() throws IOException {
        Files.move(temporary().toPath(), file.toPath(), StandardCopyOption.REPLACE_EXISTING, StandardCopyOption.ATOMIC_MOVE);
    }

    private byte[] header() {
        ByteBuffer header = ByteBuffer.allocate(HEADER);
        header.putLong(MAGIC).putInt(VERSION).putInt(dimension).put(model.getBytes(StandardCharsets.US_ASCII));
        header.putInt(crc(header.array(), HEADER - 4));
        return header.array();
    }

    /** Reads the records and returns the length of the valid prefix; 0 if the file is foreign. */
    private long replay(Visitor visitor) throws IOException {
        try (FileInputStream stream = new FileInputStream(file);
                DataInputStream in = new DataInputStream(new BufferedInputStream(stream, 1 << 18))) {
            byte[] header = new byte[HEADER];
            long good = 0;
            try {
                in.readFully(header);
                if (!Arrays.equals(header, header())) {
                    return 0;
                }
                good = HEADER;
                byte[] body = new byte[RECORD + MAX_ID + dimension];
                for (;;) {
                    int bodyLength = in.readInt();
                    int crc = in.readInt();
                    if (bodyLength < RECORD - 8 || bodyLength > body.length) {
                        return good;
                    }
                    in.readFully(body, 0, bodyLength);
                    if (crc(body, bodyLength) != crc || !give(body, bodyLength, visitor)) {
                        return good;
                    }
                    good += 8 + bodyLength;
                }
            } catch (EOFException end) {
                return good;
            }
        }
    }

    private boolean give(byte[] body, int bodyLength, Visitor visitor) {
        ByteBuffer in = ByteBuffer.wrap(body, 0, bodyLength);
        int type = in.get();
        long stamp = in.getLong();
        int idLength = in.getShort() & 0xFFFF;
        int rest = in.remaining() - idLength;
        if (type < ADDED || type > ATTEMPT || rest != (type == ADDED ? dimension : 0)) {
            return false;
        }
        String id = new String(body, in.position(), idLength, StandardCharsets.UTF_8);
        byte[] row = NO_ROW;
        if (type == ADDED) {
            row = new byte[dimension];
            in.position(in.position() + idLength);
            in.get(row);
        }
        visitor.record(type, id, stamp, row);
        return true;
    }

    /**
     * Appends a record.
     *
     * @param row codes of an ADDED record, else null
     * @throws IOException the disk is full or broken; the file is unchanged
     */
    void append(int type, String id, long stamp, byte[] row) throws IOException {
        fill(type, id, stamp, row);
        boolean done = false;
        try {
            out.write(scratch.array(), 0, scratch.limit());
            length += scratch.limit();
            done = true;
        } finally {
            if (!done) {
                out.setLength(length);
                out.seek(length);
            }
        }
    }

    private void fill(int type, String id, long stamp, byte[] row) {
        byte[] name = id.getBytes(StandardCharsets.UTF_8);
        if (name.length == 0 || name.length > MAX_ID) {
            throw new IllegalArgumentException("an id of " + name.length + " bytes");
        }
        int size = RECORD + name.length + (row == null ? 0 : row.length);
        if (scratch.capacity() < size) {
            scratch = ByteBuffer.allocate(2 * size);
        }
        scratch.clear();
        scratch.putInt(size - 8).putInt(0).put((byte) type).putLong(stamp).putShort((short) name.length).put(name);
        if (row != null) {
            scratch.put(row);
        }
        scratch.flip();
        CRC32 crc = new CRC32();
        crc.update(scratch.array(), 8, size - 8);
        scratch.putInt(4, (int) crc.getValue());
    }

    private static int crc(byte[] data, int length) {
        CRC32 crc = new CRC32();
        crc.update(data, 0, length);
        return (int) crc.getValue();
    }

    /** Returns the size of the file in bytes. */
    long length() {
        return length;
    }

    /** Returns the minimum size of a record without a row, in bytes. */
    static int recordBytes(String id) {
        return RECORD + id.length();
    }

    /** Flushes to disk, so that a power failure loses nothing written so far. */
    void sync() throws IOException {
        out.getChannel().force(false);
    }

    /** Starts a new file, which replaces this one when it is complete. */
    Rewrite rewrite() throws IOException {
        return new Rewrite();
    }

    /** A new file that is being written. */
    final class Rewrite implements Closeable {
        private static final int FLUSH = 1 << 18;
        private final RandomAccessFile fresh;
        private final FileChannel channel;
        private final ByteBuffer pending = ByteBuffer.allocate(FLUSH + 2 * (RECORD + MAX_ID + dimension));

        private Rewrite() throws IOException {
            fresh = new RandomAccessFile(temporary(), "rw");
            fresh.setLength(0);
            channel = fresh.getChannel();
            pending.put(header());
        }

        void add(int type, String id, long stamp, byte[] row) throws IOException {
            fill(type, id, stamp, row);
            pending.put(scratch);
            if (pending.position() > FLUSH) {
                flush();
            }
        }

        private void flush() throws IOException {
            pending.flip();
            while (pending.hasRemaining()) {
                channel.write(pending);
            }
            pending.clear();
        }

        /** Replaces the old file. */
        void finish() throws IOException {
            flush();
            channel.force(true);
            rename();
            out.close();
            out = fresh;
            length = out.length();
            out.seek(length);
        }

        /** Without a call of {@link #finish}, keeps the old file. */
        @Override
        public void close() throws IOException {
            if (out != fresh) {
                fresh.close();
                Files.deleteIfExists(temporary().toPath());
            }
        }
    }

    @Override
    public void close() throws IOException {
        out.close();
    }
}
