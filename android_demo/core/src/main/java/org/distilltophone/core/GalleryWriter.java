package org.distilltophone.core;

import com.eclipsesource.json.Json;
import com.eclipsesource.json.JsonObject;
import java.io.ByteArrayOutputStream;
import java.io.Closeable;
import java.io.DataOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.StandardCopyOption;
import java.security.MessageDigest;
import java.text.SimpleDateFormat;
import java.util.Arrays;
import java.util.Date;
import java.util.HashSet;
import java.util.Locale;
import java.util.Set;
import java.util.TimeZone;

/**
 * Writes a gallery file of int8 rows, one by one (docs/gallery.md): under a temporary name until {@link #finish}. Rows and
 * thumbnails go to the disk as they come; ids and signs are kept, some 60 bytes a row.
 */
public final class GalleryWriter implements Closeable {
    /** From so many rows on the file gets sign bits. */
    public static final int BITS_FROM = 100000;
    private static final int HEADER_BYTES = 8192; // of which some 2,000 are used

    private final File file;
    private final File temporary;
    private final File pictures;
    private final GalleryModel model;
    private final int dimension;
    private final RandomAccessFile out;
    private final RandomAccessFile thumbnails;
    private final JsonObject sections = new JsonObject();
    private final MessageDigest rowsDigest = Sha256.digest();
    private final ByteArrayOutputStream ids = new ByteArrayOutputStream();
    private final LongList idOffsets = new LongList();
    private final LongList thumbnailOffsets = new LongList();
    private final LongList bits = new LongList();
    private final long[] signs;
    private final Set<String> seen = new HashSet<String>();
    private final long start;
    private boolean finished;

    /** @param file becomes the gallery; replaced if it is there */
    public GalleryWriter(File file, GalleryModel model, int dimension) throws IOException {
        this.file = file;
        this.model = model;
        this.dimension = dimension;
        signs = new long[(dimension + 63) / 64];
        temporary = new File(file.getPath() + ".tmp");
        pictures = new File(file.getPath() + ".thumbnails.tmp");
        out = new RandomAccessFile(temporary, "rw");
        thumbnails = new RandomAccessFile(pictures, "rw");
        out.setLength(0);
        thumbnails.setLength(0);
        start = aligned(Gallery.START + HEADER_BYTES);
        out.seek(start);
    }

    /**
     * Adds a row.
     *
     * @param id unique; a relative path with '/', see docs/gallery.md
     * @param row int8, see {@link Int8#quantize}
     * @param jpegOrNull thumbnail
     * @throws IllegalArgumentException the id stands there already or is no plain relative path, or a row of another size
     */
    public void add(String id, byte[] row, byte[] jpegOrNull) throws IOException {
        byte[] name = id.getBytes(StandardCharsets.UTF_8);
        if (row.length != dimension) {
            throw new IllegalArgumentException("a row of " + row.length + " values instead of " + dimension);
        }
        if (!Gallery.plain(ByteBuffer.wrap(name), 0, name.length)) {
            throw new IllegalArgumentException("id '" + id + "' is no plain relative path");
        }
        if (!seen.add(id)) {
            throw new IllegalArgumentException("id '" + id + "' stands twice");
        }
        out.write(row);
        rowsDigest.update(row);
        idOffsets.add(ids.size());
        ids.write(name, 0, name.length);
        thumbnailOffsets.add(thumbnails.getFilePointer());
        if (jpegOrNull != null) {
            thumbnails.write(jpegOrNull);
        }
        PrefilterIndex.signs(row, signs, 0);
        for (long word : signs) {
            bits.add(word);
        }
    }

    /** Completes the file and gives it its name. */
    public void finish() throws IOException {
        int count = seen.size();
        section("embeddings", start, rowsDigest);
        if (count >= BITS_FROM) {
            section("bits", bits.littleEndian());
        }
        idOffsets.add(ids.size());
        section("ids", ids.toByteArray());
        section("id_offsets", idOffsets.littleEndian());
        if (thumbnails.length() > 0) {
            thumbnailOffsets.add(thumbnails.length());
            copyThumbnails();
            section("thumbnail_offsets", thumbnailOffsets.littleEndian());
        }
        JsonObject header = new JsonObject().add("schema_version", 1).add("count", count).add("dimension", dimension)
            .add("dtype", "int8").add("scale", Int8.SCALE).add("model", model.json()).add("created", now())
            .add("tool", "distill-to-phone android_demo").add("thumbnail_side", Json.NULL).add("bundle", Json.NULL)
            .add("sections", sections);
        byte[] text = header.toString().getBytes(StandardCharsets.UTF_8);
        if (text.length > HEADER_BYTES) {
            throw new IllegalArgumentException("names of " + text.length + " bytes in the header");
        }
        byte[] padded = Arrays.copyOf(text, HEADER_BYTES);
        Arrays.fill(padded, text.length, HEADER_BYTES, (byte) ' ');
        ByteBuffer prefix = ByteBuffer.allocate(Gallery.START).order(ByteOrder.LITTLE_ENDIAN);
        prefix.put(Gallery.MAGIC).putInt(Gallery.VERSION).putInt(HEADER_BYTES);
        out.seek(0);
        out.write(prefix.array());
        out.write(padded);
        out.getFD().sync();
        out.close();
        Files.move(temporary.toPath(), file.toPath(), StandardCopyOption.REPLACE_EXISTING, StandardCopyOption.ATOMIC_MOVE);
        finished = true;
    }

    private static String now() {
        SimpleDateFormat format = new SimpleDateFormat("yyyy-MM-dd'T'HH:mm:ss'Z'", Locale.ROOT);
        format.setTimeZone(TimeZone.getTimeZone("UTC"));
        return format.format(new Date());
    }

    private static long aligned(long offset) {
        return (offset + Gallery.ALIGNMENT - 1) / Gallery.ALIGNMENT * Gallery.ALIGNMENT;
    }

    /** Notes that a section that starts at {@code offset} ends here, and goes to where the next one may start. */
    private void section(String name, long offset, MessageDigest digest) throws IOException {
        long end = out.getFilePointer();
        sections.add(name, new JsonObject().add("offset", offset).add("bytes", end - offset).add("sha256", Sha256.hex(digest)));
        out.write(new byte[(int) (aligned(end) - end)]);
    }

    private void section(String name, byte[] content) throws IOException {
        long offset = out.getFilePointer();
        out.write(content);
        MessageDigest digest = Sha256.digest();
        digest.update(content);
        section(name, offset, digest);
    }

    private void copyThumbnails() throws IOException {
        long offset = out.getFilePointer();
        MessageDigest digest = Sha256.digest();
        byte[] piece = new byte[1 << 16];
        thumbnails.seek(0);
        for (int got = thumbnails.read(piece); got > 0; got = thumbnails.read(piece)) {
            out.write(piece, 0, got);
            digest.update(piece, 0, got);
        }
        section("thumbnails", offset, digest);
    }

    /** Without {@link #finish}: leaves nothing behind. */
    @Override
    public void close() throws IOException {
        try {
            thumbnails.close();
            out.close();
        } finally {
            Files.deleteIfExists(pictures.toPath());
            if (!finished) {
                Files.deleteIfExists(temporary.toPath());
            }
        }
    }

    /** Growing; as bytes in the end. */
    private static final class LongList {
        private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        private final DataOutputStream out = new DataOutputStream(bytes);

        void add(long value) throws IOException {
            out.writeLong(Long.reverseBytes(value));
        }

        byte[] littleEndian() {
            return bytes.toByteArray();
        }
    }
}
